// PTX text to instructions. What nvcc 13 emits for these kernels is understood, and anything else refused: an
// instruction is never skipped.
#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

#include "cuda_emulator/memory.h"
#include "cuda_emulator/ptx/program.h"
#include "cuda_emulator/ptx/tables.h"

namespace steelyard::cuda_emulator::ptx {

Program::~Program() {
  for (void* each : memory) {
    memory::unregister_host(each);
    std::free(each);
  }
}

bool Instruction::has(const char* modifier) const { return std::ranges::count(modifiers, modifier) > 0; }

namespace {

size_t round_up(size_t n, size_t multiple) { return (n + multiple - 1) / multiple * multiple; }

class Parser {
 public:
  Parser(const std::string& text, Program& program) : text_(text), program_(program) {}

  void module() {
    while (skip_space(), at_ < text_.size()) {
      const std::string directive = word();
      if (directive == ".version" || directive == ".file" || directive == ".loc") {
        skip_past('\n');
      } else if (directive == ".target") {
        do word();
        while (eat(','));
      } else if (directive == ".address_size") {
        number();
      } else if (directive == ".section") {
        skip_past('{');
        for (int depth = 1; depth > 0; ++at_) depth += (text_.at(at_) == '{') - (text_.at(at_) == '}');
      } else if (directive == ".entry") {
        entry();
      } else if (directive == ".global" || directive == ".const" || directive == ".shared") {
        variable(directive, program_.globals);
      } else if (directive != ".visible" && directive != ".weak" && directive != ".extern" && directive != ".common") {
        error("unknown directive " + directive);
      }
    }
  }

 private:
  // ---- words

  [[noreturn]] void error(const std::string& what) const {
    const auto line = 1 + std::count(text_.begin(), text_.begin() + static_cast<ptrdiff_t>(at_), '\n');
    throw std::runtime_error("PTX line " + std::to_string(line) + ": " + what);
  }

  void skip_space() {
    for (;;) {
      while (at_ < text_.size() && std::isspace(uint8_t(text_[at_]))) ++at_;
      if (text_.compare(at_, 2, "//") == 0) {
        skip_past('\n');
      } else if (text_.compare(at_, 2, "/*") == 0) {
        at_ = text_.find("*/", at_) + 2;
      } else {
        return;
      }
    }
  }
  void skip_past(char c) { at_ = std::min(text_.find(c, at_), text_.size() - 1) + 1; }

  char next() {
    skip_space();
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool eat(char c) {
    if (next() != c) return false;
    ++at_;
    return true;
  }
  void need(char c) {
    if (!eat(c)) error(std::string("expected ") + c);
  }

  static bool in_word(char c) { return std::isalnum(uint8_t(c)) || c == '_' || c == '$' || c == '%'; }
  std::string word() {
    const size_t begin = (next(), at_);
    if (text_[at_] == '.') ++at_;
    while (at_ < text_.size() && in_word(text_[at_])) ++at_;
    if (begin == at_) error(std::string("unexpected character ") + text_[at_]);
    return text_.substr(begin, at_ - begin);
  }

  uint64_t bits_of_float(size_t digits) {
    const uint64_t bits = std::strtoull(text_.substr(at_ + 2, digits).c_str(), nullptr, 16);
    at_ += 2 + digits;
    return bits;
  }
  uint64_t number() {
    const bool negative = eat('-');
    skip_space();
    if (text_[at_] == '0' && std::tolower(text_[at_ + 1]) == 'f') return bits_of_float(8);
    if (text_[at_] == '0' && std::tolower(text_[at_ + 1]) == 'd') return bits_of_float(16);
    char* end;
    const uint64_t value = std::strtoull(text_.c_str() + at_, &end, 0);
    at_ = size_t(end - text_.c_str());
    if (at_ < text_.size() && text_[at_] == 'U') ++at_;
    return negative ? 0 - value : value;
  }

  // ---- declarations

  struct Declaration {
    std::string name;
    Type type = kNone;
    size_t align = 1, count = 1;
    size_t bytes() const { return count * size_t(size_of(type)); }
  };
  // [.align n] .type name [ '[' n ']' ], among words that do not matter.
  Declaration declaration() {
    Declaration d;
    while ((d.name = word()).front() == '.') {
      if (d.name == ".align") d.align = number();
      if (const Type type = find_type(d.name.substr(1))) d.type = type;
      if (d.name == ".attribute") skip_past(')');
    }
    if (eat('[')) {
      d.count = next() == ']' ? 0 : number();
      need(']');
    }
    d.align = std::max(d.align, size_t(size_of(d.type)));
    return d;
  }

  void variable(const std::string& space, std::map<std::string, Symbol>& symbols) {
    const Declaration d = declaration();
    if (space == ".shared") {
      symbols[d.name] = {OperandKind::kShared, program_.shared.size()};
      program_.shared.push_back({d.bytes(), d.align});
    } else if (space == ".local") {
      kernel_->local_bytes = round_up(kernel_->local_bytes, d.align);
      symbols[d.name] = {OperandKind::kLocal, kernel_->local_bytes};
      kernel_->local_bytes += d.bytes();
    } else {
      symbols[d.name] = {OperandKind::kGlobal, uint64_t(global(d))};
    }
    need(';');
  }

  void* global(const Declaration& d) {
    const size_t bytes = std::max<size_t>(d.bytes(), 1), step = size_t(size_of(d.type));
    auto* memory = static_cast<char*>(std::aligned_alloc(256, round_up(bytes, 256)));
    std::memset(memory, 0, bytes);
    program_.memory.push_back(memory);
    memory::register_host(memory, bytes, memory::Kind::kPinned, 0);
    if (!eat('=')) return memory;
    const bool list = eat('{');
    for (size_t i = 0; i == 0 || eat(','); ++i) {
      const uint64_t value = number();
      std::memcpy(memory + i * step, &value, step);
    }
    if (list) need('}');
    return memory;
  }

  // ---- kernels

  void entry() {
    auto kernel = std::make_unique<Kernel>();
    kernel_ = kernel.get();
    kernel_->name = word();
    registers_.assign(1, {});
    labels_.clear();
    branches_.clear();
    if (eat('(') && !eat(')')) {
      do parameter();
      while (eat(','));
      need(')');
    }
    while (!eat('{')) at_ = text_.find_first_of("\n{", (word(), at_));  // .maxntid and the like
    body();
    for (const auto& [index, label] : branches_) {
      if (!labels_.contains(label)) error("no label " + label);
      kernel_->code[index].operands[0].value = labels_[label];
    }
    kernel_->code.push_back({.op = op_ret});
    program_.kernels[kernel_->name] = std::move(kernel);
  }

  void parameter() {
    const Declaration d = declaration();
    const size_t offset = round_up(kernel_->parameter_bytes, d.align);
    kernel_->symbols[d.name] = {OperandKind::kParam, offset};
    kernel_->parameters.push_back({offset, d.bytes()});
    kernel_->parameter_bytes = offset + d.bytes();
  }

  void body() {
    for (size_t depth = 1; depth > 0;) {
      if (eat('{')) {
        ++depth;
        registers_.emplace_back();
      } else if (eat('}')) {
        --depth;
        registers_.pop_back();
      } else if (next() != '.') {
        statement();
      } else {
        const std::string directive = word();
        if (directive == ".reg") {
          declare_registers();
        } else if (directive == ".shared" || directive == ".local") {
          variable(directive, kernel_->symbols);
        } else if (directive == ".loc" || directive == ".pragma") {
          skip_past(directive == ".loc" ? '\n' : ';');
        } else {
          error("directive " + directive + " in a kernel");
        }
      }
    }
  }

  void declare_registers() {
    word();  // the type: operations state theirs
    do {
      const std::string name = word();
      if (!eat('<')) {
        registers_.back()[name] = kernel_->n_registers++;
        continue;
      }
      const uint64_t n = number();
      need('>');
      for (uint64_t i = 0; i < n; ++i) registers_.back()[name + std::to_string(i)] = kernel_->n_registers++;
    } while (eat(','));
    need(';');
  }

  int find_register(const std::string& name) const {
    for (size_t i = registers_.size(); i-- > 0;) {
      if (const auto found = registers_[i].find(name); found != registers_[i].end()) return found->second;
    }
    return -1;
  }

  // ---- instructions

  Operand operand(bool label) {
    Operand out;
    if (eat('{')) {
      do out.vector.push_back(operand(false));
      while (eat(','));
      need('}');
      return out;
    }
    const bool address = eat('[');
    if (std::isdigit(uint8_t(next())) || next() == '-') {
      out.kind = OperandKind::kImmediate;
      out.value = number();
    } else {
      named(label, out);
    }
    if (next() == '+' || (address && next() == '-')) {
      eat('+');
      out.value += number();
    }
    if (address) need(']');
    return out;
  }

  void named(bool label, Operand& out) {
    std::string name = word();
    if (name[0] == '%' && text_[at_] == '.') name += word();
    if (const int special = find_special(name); special >= 0) {
      out.kind = OperandKind::kSpecial;
      out.value = uint64_t(special);
    } else if (name == "_") {
      out.kind = OperandKind::kSink;
    } else if ((out.index = find_register(name)) >= 0) {
      out.kind = OperandKind::kRegister;
      if (eat('|')) out.second = find_register(word());
    } else if (label) {
      out.kind = OperandKind::kLabel;
      branches_.push_back({kernel_->code.size(), name});
    } else {
      const bool own = kernel_->symbols.contains(name);
      if (!own && !program_.globals.contains(name)) error("unknown name " + name);
      const Symbol& symbol = own ? kernel_->symbols[name] : program_.globals[name];
      out.kind = symbol.kind;
      if (symbol.kind == OperandKind::kShared)
        out.index = int(symbol.offset);
      else
        out.value = symbol.offset;
    }
  }

  void statement() {
    Instruction instruction{};
    if (eat('@')) {
      instruction.negated = eat('!');
      instruction.predicate = find_register(word());
      if (instruction.predicate < 0) error("no such predicate");
    }
    const size_t begin = (next(), at_);
    while (at_ < text_.size() && (in_word(text_[at_]) || text_[at_] == '.' || text_[at_] == ':')) ++at_;
    std::string name = text_.substr(begin, at_ - begin);
    if (!name.empty() && name.back() == ':') {
      name.pop_back();
      labels_[name] = kernel_->code.size();
      return;
    }
    if (const std::string fault = decode(name, instruction); !fault.empty()) error(fault);
    if (!eat(';')) {
      do instruction.operands.push_back(operand(instruction.op == op_bra));
      while (eat(','));
      need(';');
    }
    kernel_->code.push_back(std::move(instruction));
  }

  const std::string& text_;
  Program& program_;
  size_t at_ = 0;
  Kernel* kernel_ = nullptr;
  std::vector<std::map<std::string, int>> registers_;  // by scope
  std::map<std::string, size_t> labels_;
  std::vector<std::pair<size_t, std::string>> branches_;  // instruction, label
};

}  // namespace

std::shared_ptr<const Program> parse(const std::string& text) {
  auto program = std::make_shared<Program>();
  Parser(text, *program).module();
  return program;
}

}  // namespace steelyard::cuda_emulator::ptx
