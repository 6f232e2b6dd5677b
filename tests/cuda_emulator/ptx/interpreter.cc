// One CUDA thread of a PTX kernel: registers, local memory, the loop over instructions. Whatever concerns the warp, the
// block or memory goes through the engine, as it does for kernels that the host's compiler built.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <map>
#include <stdexcept>

#include "cuda_emulator/ptx/bits.h"
#include "cuda_emulator/ptx/module.h"
#include "cuda_emulator/ptx/tables.h"
#include "cuda_emulator/ptx/values.h"
#include "cuda_emulator/scheduler.h"

namespace steelyard::cuda_emulator::ptx {
namespace {

Module::Work total;

struct RunningWarp {
  uint64_t longest = 0;
  int n_done = 0;
};
std::map<const void*, RunningWarp> running;
// Adds a thread's instructions to those of its warp; the last one of a warp adds the longest to the total.
void count_thread(uint64_t instructions) {
  const auto* const warp = current_thread->warp;
  RunningWarp& own = running[warp];
  own.longest = std::max(own.longest, instructions);
  if (++own.n_done < std::popcount(warp->exists)) return;
  total.warp_instructions += own.longest;
  running.erase(warp);
}

class ThreadRun {
 public:
  ThreadRun(const Program& program, const Kernel& kernel, const char* parameters, uint64_t* registers, char* local)
      : program_(program), kernel_(kernel), parameters_(parameters), registers_(registers), local_(local) {}

  void run() {
    const Instruction* code = kernel_.code.data();
    for (size_t at = 0;;) {
      const Instruction& i = code[at++];
      ++total.instructions;
      ++n_executed_;
      if (i.predicate >= 0 && bool(registers_[i.predicate] & 1) == i.negated) continue;
      if (i.op == op_ret) return count_thread(n_executed_);
      if (i.op == op_bra) {
        at = size_t(i.operands[0].value);
        continue;
      }
      site_ = {"ptx", int(at)};
      execute(i);
    }
  }

 private:
  // ---- operands

  uint64_t special(uint64_t which) const {
    const Thread& t = *current_thread;
    const uint32_t lane = t.lane;
    switch (which) {
      case kTidX:
        return t.tid.x;
      case kTidY:
        return t.tid.y;
      case kTidZ:
        return t.tid.z;
      case kNtidX:
        return current_block_dim.x;
      case kNtidY:
        return current_block_dim.y;
      case kNtidZ:
        return current_block_dim.z;
      case kCtaidX:
        return t.bid.x;
      case kCtaidY:
        return t.bid.y;
      case kCtaidZ:
        return t.bid.z;
      case kNctaidX:
        return current_grid_dim.x;
      case kNctaidY:
        return current_grid_dim.y;
      case kNctaidZ:
        return current_grid_dim.z;
      case kLaneid:
        return lane;
      case kWarpid:
        return t.linear / 32;
      case kLanemaskLt:
        return (1u << lane) - 1;
      case kLanemaskEq:
        return 1u << lane;
      case kLanemaskLe:
        return (2u << lane) - 1;
      case kLanemaskGt:
        return ~((2u << lane) - 1);
      case kLanemaskGe:
        return ~((1u << lane) - 1);
      default:
        return total.instructions;  // clocks
    }
  }

  uint64_t shared_address(const Operand& operand) const {
    const Program::Shared& variable = program_.shared[size_t(operand.index)];
    void* p = variable.bytes > 0 ? shared_slot(&variable, variable.bytes, variable.align) : dyn_shared(variable.align);
    return shared_offset(p) + operand.value;
  }

  uint64_t get(const Operand& operand) const {
    switch (operand.kind) {
      case OperandKind::kRegister:
        return registers_[operand.index];
      case OperandKind::kSpecial:
        return special(operand.value);
      case OperandKind::kShared:
        return shared_address(operand);
      case OperandKind::kLocal:
        return uint64_t(local_ + operand.value);
      default:
        return operand.value;
    }
  }
  void set(const Operand& operand, uint64_t value) {
    if (operand.kind == OperandKind::kRegister) registers_[operand.index] = value;
  }
  uint64_t address(const Operand& operand) const {
    return operand.kind == OperandKind::kRegister ? registers_[operand.index] + operand.value : get(operand);
  }

  // Where n bytes of a space lie.
  char* memory_at(const Operand& operand, Space space, size_t n) const {
    uint64_t at = address(operand);
    if (space == Space::kShared) {
      auto* p = static_cast<char*>(shared_from_offset(uint32_t(at)));
      if (!is_shared(p, n)) fail("shared access of %zu bytes at offset 0x%x is out of bounds", n, unsigned(at));
      at = uint64_t(p);
    } else if (space == Space::kParam) {
      return const_cast<char*>(parameters_) + at;
    }
    if (space == Space::kShared || is_shared(reinterpret_cast<const void*>(at), n)) ++total.shared_accesses;
    if (at >= uint64_t(local_) && at < uint64_t(local_) + kernel_.local_bytes) ++total.local_accesses;
    if (at % n && n <= 16) fail("misaligned %zu-byte access at %p", n, reinterpret_cast<void*>(at));
    return reinterpret_cast<char*>(at);
  }

  // ---- instructions

  void execute(const Instruction& i) {
    const Operand* o = i.operands.data();
    const auto in = [&](int n) { return get(o[n]); };
    const auto word = [&](int n) { return uint32_t(get(o[n])); };
    switch (i.op) {
      case op_add:
      case op_sub:
      case op_mul:
      case op_div:
      case op_min:
      case op_max:
      case op_copysign:
        return set(o[0], arithmetic(i, in(1), in(2), 0));
      case op_mad:
      case op_fma:
        return set(o[0], arithmetic(i, in(1), in(2), in(3)));
      case op_neg:
      case op_abs:
      case op_rsqrt:
      case op_rcp:
      case op_sqrt:
      case op_ex2:
      case op_lg2:
      case op_sin:
      case op_cos:
      case op_tanh:
        return set(o[0], arithmetic(i, in(1), 0, 0));
      case op_rem:
      case op_and:
      case op_or:
      case op_xor:
      case op_shl:
      case op_shr:
        return set(o[0], integer_operation(i, in(1), in(2), 0));
      case op_not:
        return set(o[0], integer_operation(i, in(1), 0, 0));
      case op_shf:
        return set(o[0], funnel_shift(i.variant, word(1), word(2), word(3)));
      case op_bfe:
        return set(o[0], extract(i.type, in(1), int(word(2) & 255), int(word(3) & 255)));
      case op_bfi:
        return set(o[0], insert(i.type, in(1), in(2), int(word(3) & 255), int(word(4) & 255)));
      case op_prmt:
        return set(o[0], permute(word(1), word(2), word(3)));
      case op_popc:
        return set(o[0], uint64_t(std::popcount(narrow(in(1), i.type))));
      case op_clz:
        return set(o[0], uint64_t(std::countl_zero(narrow(in(1), i.type)) - (64 - 8 * size_of(i.type))));
      case op_bfind:
        return set(o[0], find_top(i, extend(in(1), i.type)));
      case op_brev:
        return set(o[0], __brev(word(1)));
      case op_vadd4:
        return set(o[0], __vadd4(word(1), word(2)));
      case op_vsub4:
        return set(o[0], __vsub4(word(1), word(2)));
      case op_lop3:
        return set(o[0], look_up(word(1), word(2), word(3), word(4)));
      case op_dp4a:
        if (i.type != i.type2) fail("dp4a of mixed signs");
        return set(o[0], i.type == kU32 ? __dp4a(word(1), word(2), word(3))
                                        : uint32_t(__dp4a(int(word(1)), int(word(2)), int(word(3)))));
      case op_mov:
        return move(i);
      case op_ld:
        return load(i);
      case op_st:
        return store(i);
      case op_cvt:
        if (i.operands.size() < 3) return set(o[0], convert(i, in(1)));
        return set(o[0], pack_halves(i.type == kF16x2 ? kF16 : kBF16, in(1), in(2)));
      case op_cvta:
        if (i.space != Space::kShared) return set(o[0], in(1));
        return set(o[0],
                   i.to_space ? shared_offset(reinterpret_cast<void*>(in(1))) : uint64_t(shared_from_offset(word(1))));
      case op_setp:
        return set_predicates(i);
      case op_selp:
        return set(o[0], narrow(in(3) & 1 ? in(1) : in(2), i.type));
      case op_atom:
      case op_red:
        return atomic(i);
      default:
        return execute_together(i);
    }
  }

  // What threads do with one another.
  void execute_together(const Instruction& i) {
    const Operand* o = i.operands.data();
    const auto in = [&](int n) { return get(o[n]); };
    const auto word = [&](int n) { return uint32_t(get(o[n])); };
    const int n = int(i.operands.size());
    switch (i.op) {
      case op_bar:
        barrier(int(in(0)), n > 1 ? int(in(1)) : 0, kBarPlain, 0, site_);
        return;
      case op_bar_red: {
        constexpr BarrierKind kKinds[] = {kBarCount, kBarAnd, kBarOr};
        return set(o[0],
                   uint64_t(barrier(int(in(1)), n > 3 ? int(in(2)) : 0, kKinds[i.variant], int(in(n - 1) & 1), site_)));
      }
      case op_bar_warp:
        return syncwarp(word(0), site_);
      case op_shfl:
        return shuffle(i);
      case op_vote:
        return set(o[0], vote(Vote(i.variant), word(2), in(1) & 1, site_));
      case op_redux: {
        constexpr Red kSigned[] = {Red::kAddU, Red::kMinS, Red::kMaxS, Red::kAnd, Red::kOr, Red::kXor};
        constexpr Red kUnsigned[] = {Red::kAddU, Red::kMinU, Red::kMaxU, Red::kAnd, Red::kOr, Red::kXor};
        return set(o[0], reduce((is_signed(i.type) ? kSigned : kUnsigned)[i.variant], word(2), word(1), site_));
      }
      case op_fence:
        return fence();
      case op_mma:
        return multiply(i);
      case op_ldmatrix: {
        uint32_t rows[4];
        const int count = i.variant & 15;
        ldmatrix(count, i.variant & kTransposed, rows, shared_from_offset(uint32_t(address(o[1]))), site_);
        for (int j = 0; j < count; ++j) set(o[0].vector.empty() ? o[0] : o[0].vector[size_t(j)], rows[j]);
        return;
      }
      case op_cp:
        return cp_async(shared_from_offset(uint32_t(address(o[0]))), reinterpret_cast<void*>(address(o[1])), int(in(2)),
                        int(in(n > 3 ? 3 : 2)));
      case op_cp_wait_all:
        cp_async_commit();
        return cp_async_wait(0);
      case op_cp_commit:
        return cp_async_commit();
      case op_cp_wait:
        return cp_async_wait(int(in(0)));
      case op_nanosleep:
        return spin_yield();
      default:
        fail("trap");
    }
  }

  static uint64_t arithmetic(const Instruction& i, uint64_t a, uint64_t b, uint64_t c) {
    if (!is_float(i.type)) return integer_operation(i, a, b, c);
    const uint64_t value = float_operation(i.op == op_mad ? op_fma : i.op, i.type, a, b, c);
    if (!i.saturate) return value;
    return std::bit_cast<uint32_t>(__saturatef(std::bit_cast<float>(uint32_t(value))));
  }

  // ---- moves and memory

  void move(const Instruction& i) {
    const Operand &to = i.operands[0], &from = i.operands[1];
    const size_t parts = std::max(to.vector.size(), from.vector.size());
    if (parts == 0) return set(to, i.type == kPred ? get(from) & 1 : narrow(get(from), i.type));
    const int width = 8 * size_of(i.type) / int(parts);
    const uint64_t mask = (uint64_t(1) << width) - 1;
    uint64_t value = from.vector.empty() ? get(from) : 0;
    for (size_t j = 0; j < from.vector.size(); ++j) value |= (get(from.vector[j]) & mask) << (width * int(j));
    if (to.vector.empty()) return set(to, value);
    for (size_t j = 0; j < parts; ++j) set(to.vector[j], value >> (width * int(j)) & mask);
  }

  void load(const Instruction& i) {
    const auto size = size_t(size_of(i.type));
    const char* from = memory_at(i.operands[1], i.space, size * size_t(i.width));
    for (size_t j = 0; j < size_t(i.width); ++j) {
      uint64_t value = 0;
      std::memcpy(&value, from + j * size, size);
      const Operand& to = i.operands[0];
      set(to.vector.empty() ? to : to.vector[j], extend(value, i.type));
    }
  }

  void store(const Instruction& i) {
    const auto size = size_t(size_of(i.type));
    char* to = memory_at(i.operands[0], i.space, size * size_t(i.width));
    for (size_t j = 0; j < size_t(i.width); ++j) {
      const Operand& from = i.operands[1];
      const uint64_t value = get(from.vector.empty() ? from : from.vector[j]);
      std::memcpy(to + j * size, &value, size);
    }
  }

  template <class Bits>
  static uint64_t update(const Instruction& i, void* p, uint64_t b, uint64_t c) {
    return atomic_update(static_cast<Bits*>(p), [&](Bits old) -> Bits {
      switch (i.variant) {
        case kAdd:
          return Bits(is_float(i.type) ? float_operation(op_add, i.type, old, b, 0) : old + b);
        case kMin:
          return Bits(integer_operation(op_min, i.type, Wide::kLow, old, b, 0));
        case kMax:
          return Bits(integer_operation(op_max, i.type, Wide::kLow, old, b, 0));
        case kAnd:
          return Bits(old & b);
        case kOr:
          return Bits(old | b);
        case kXor:
          return Bits(old ^ b);
        case kExch:
          return Bits(b);
        default:
          return old == Bits(b) ? Bits(c) : old;
      }
    });
  }

  void atomic(const Instruction& i) {
    const size_t first = i.op == op_atom ? 1 : 0, size = size_t(size_of(i.type));
    char* p = memory_at(i.operands[first], i.space, size);
    const uint64_t b = get(i.operands[first + 1]);
    const uint64_t c = i.operands.size() > first + 2 ? get(i.operands[first + 2]) : 0;
    const uint64_t old = size == 8   ? update<uint64_t>(i, p, b, c)
                         : size == 4 ? update<uint32_t>(i, p, b, c)
                                     : update<uint16_t>(i, p, b, c);
    if (i.op == op_atom) set(i.operands[0], old);
  }

  // ---- predicates and warps

  void set_predicates(const Instruction& i) {
    const bool first = compare(i.comparison, i.type, get(i.operands[1]), get(i.operands[2]));
    const bool with = i.combine != Combine::kNone && (get(i.operands[3]) & 1);
    const auto combined = [&](bool value) {
      switch (i.combine) {
        case Combine::kAnd:
          return value && with;
        case Combine::kOr:
          return value || with;
        case Combine::kXor:
          return value != with;
        case Combine::kNone:
          break;
      }
      return value;
    };
    if (i.operands[0].second >= 0) registers_[i.operands[0].second] = combined(!first);
    set(i.operands[0], combined(first));
  }

  // shfl.sync d|p, a, b, c, mask: c holds the segment in bits 8 to 12; p says whether the source lies in it.
  void shuffle(const Instruction& i) {
    const Operand* o = i.operands.data();
    const int lane = int(current_thread->lane), width = 32 - int(get(o[3]) >> 8 & 31), arg = int(get(o[2]));
    const int base = lane & ~(width - 1), last = base | (width - 1);
    const auto kind = Shfl(i.variant);
    const int source = kind == Shfl::kIdx    ? base | (arg & (width - 1))
                       : kind == Shfl::kUp   ? lane - arg
                       : kind == Shfl::kDown ? lane + arg
                                             : lane ^ arg;
    if (o[0].second >= 0) registers_[o[0].second] = kind == Shfl::kUp ? source >= base : source <= last;
    set(o[0], shfl32(kind, uint32_t(get(o[4])), uint32_t(get(o[1])), arg, width, site_));
  }

  void multiply(const Instruction& i) {
    uint32_t a[4], b[2], c[4], d[4];
    const auto read = [&](int n, uint32_t* to) {
      const Operand& operand = i.operands[size_t(n)];
      if (operand.vector.empty()) *to = uint32_t(get(operand));
      for (const Operand& each : operand.vector) *to++ = uint32_t(get(each));
    };
    read(1, a);
    read(2, b);
    read(3, c);
    auto *df = reinterpret_cast<float*>(d), *cf = reinterpret_cast<float*>(c);
    auto *di = reinterpret_cast<int*>(d), *ci = reinterpret_cast<int*>(c);
    switch (i.variant) {
      case kMma32Int8:
        mma_m16n8k32_s8(di, a, b, ci, site_);
        break;
      case kMma16Int8:
        mma_m16n8k16_s8(di, a, b, ci, site_);
        break;
      case kMma16Bf16:
      case kMma16Half:
        mma_m16n8k16(i.variant == kMma16Bf16, df, a, b, cf, site_);
        break;
      default:
        mma_m16n8k8(i.variant == kMma8Bf16, df, a, b, cf, site_);
    }
    for (size_t j = 0; j < 4; ++j) set(i.operands[0].vector[j], d[j]);
  }

  const Program& program_;
  const Kernel& kernel_;
  const char* const parameters_;
  uint64_t* const registers_;
  char* const local_;
  Site site_{};
  uint64_t n_executed_ = 0;
};

constexpr size_t kLocalAlign = 128;

struct Call {
  const Program* program;
  const Kernel* kernel;
  const char* parameters;
};

// Registers and local memory live on the fiber's stack and begin as poison. A kernel whose loops nvcc unrolled has tens
// of thousands of registers, because PTX assigns each but once.
size_t stack_bytes(const Kernel& kernel) {
  return static_cast<size_t>(kernel.n_registers + 1) * 8 + kernel.local_bytes + 2 * kLocalAlign;
}

void run_thread(void* pack) {
  const Call& call = *static_cast<const Call*>(pack);
  const Kernel& kernel = *call.kernel;
  auto* registers = static_cast<uint64_t*>(__builtin_alloca(size_t(kernel.n_registers + 1) * 8));
  auto* local = static_cast<char*>(__builtin_alloca_with_align(kernel.local_bytes + 16, kLocalAlign * 8));
  std::fill_n(registers, kernel.n_registers, 0xDEADBEEFDEADBEEFull);
  std::memset(local, config().poison, kernel.local_bytes);
  ThreadRun(*call.program, kernel, call.parameters, registers, local).run();
}

}  // namespace

Module::Module(const std::string& text) : program_(parse(text)) {}
Module::~Module() = default;

Module::Work Module::work() { return total; }

std::vector<std::string> Module::kernels() const {
  std::vector<std::string> names;
  for (const auto& [name, kernel] : program_->kernels) names.push_back(name);
  return names;
}

cudaError_t Module::launch(const std::string& name, dim3 grid, dim3 block, size_t smem, cudaStream_t stream,
                           const std::vector<std::pair<const void*, size_t>>& arguments) const {
  const Kernel* kernel = nullptr;
  for (const auto& [full, each] : program_->kernels) {
    if (full != name && full.find(name) == std::string::npos) continue;
    if (kernel != nullptr) throw std::runtime_error("several kernels are named like " + name);
    kernel = each.get();
  }
  if (kernel == nullptr) throw std::runtime_error("no kernel " + name);
  return launch(*kernel, grid, block, smem, stream, arguments);
}

int Module::run_from_here() const {
  int n = 0;
  for (const auto& [mangled, kernel] : program_->kernels) {
    set_ptx(plain_name(readable_name(mangled.c_str())),
            [module = *this, each = kernel.get()](const Launch& call, const Argument* arguments, int count,
                                                  cudaStream_t stream) {
              std::vector<std::pair<const void*, size_t>> values;
              for (int i = 0; i < count; ++i) values.emplace_back(arguments[i].value, arguments[i].size);
              return module.launch(*each, call.grid, call.block, call.dyn_smem, stream, values);
            });
    ++n;
  }
  return n;
}

cudaError_t Module::launch(const Kernel& kernel, dim3 grid, dim3 block, size_t smem, cudaStream_t stream,
                           const std::vector<std::pair<const void*, size_t>>& arguments) const {
  if (arguments.size() != kernel.parameters.size()) {
    throw std::runtime_error(kernel.name + " has " + std::to_string(kernel.parameters.size()) + " parameters");
  }
  const auto bytes = std::make_shared<std::vector<char>>(kernel.parameter_bytes + 8);
  std::vector<Argument> checked;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const Kernel::Parameter& parameter = kernel.parameters[i];
    if (arguments[i].second != parameter.size) {
      throw std::runtime_error(kernel.name + ": parameter " + std::to_string(i) + " has " +
                               std::to_string(parameter.size) + " bytes");
    }
    std::memcpy(bytes->data() + parameter.offset, arguments[i].first, parameter.size);
    checked.push_back({bytes->data() + parameter.offset, parameter.size, false});
  }
  const Launch description{kernel.name.c_str(), &kernel, grid, block, smem, nullptr, nullptr, -1, stack_bytes(kernel)};
  const auto run = [program = program_, kernel = &kernel, bytes](const Launch& launch) {
    Call call{program.get(), kernel, bytes->data()};
    Launch bound = launch;
    bound.pack = &call;
    bound.invoke = run_thread;
    running.clear();
    run_launch(bound);
  };
  return enqueue_kernel(description, run, checked.data(), int(checked.size()), stream);
}

}  // namespace steelyard::cuda_emulator::ptx
