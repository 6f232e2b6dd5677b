#include "search/plan_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <utility>

#include "base/check.h"
#include "base/error.h"
#include "formats/native.h"
#include "plan/protection.h"
#include "plan/resolve.h"
#include "search/rules.h"

namespace steelyard::search {
namespace {

using formats::Type;
using Place = Rule::Place;

bool is_plain(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-'; }

// `name` as a regular expression that finds it. Blanks and control bytes would end a pattern. Bytes beyond ASCII are
// characters of UTF-8 and stand for themselves.
std::string quoted(std::string_view name) {
  std::string result;
  for (const char c : name) {
    const auto byte = static_cast<unsigned char>(c);
    if (is_plain(c) || byte >= 0x80) {
      result += c;
    } else if (byte <= ' ' || byte == 0x7F) {
      result += fmt::format("\\x{:02x}", byte);
    } else {
      result += fmt::format("\\{}", c);
    }
  }
  return result;
}

std::string join(const std::vector<std::string>& words, std::string_view separator) {
  return fmt::format("{}", fmt::join(words, separator));
}

// "(a|b)", or "a" for one.
std::string any_of(const std::vector<std::string>& words) {
  return words.size() == 1 ? words[0] : "(" + join(words, "|") + ")";
}

// "ffn_(gate|up)_exps" for names that begin and end alike, "attn_(k|q|v)" for names that only begin alike. Words are
// what stands between underscores.
std::string short_alternatives(const std::vector<std::string>& names) {
  const auto ends = [](const std::string& name) {
    const size_t first = name.find('_');
    const size_t last = name.rfind('_');
    return first == std::string::npos ? std::pair(name, std::string())
                                      : std::pair(name.substr(0, first + 1), first == last ? "" : name.substr(last));
  };
  std::map<std::pair<std::string, std::string>, size_t> counts;
  for (const std::string& name : names) ++counts[ends(name)];
  // In the order in which the first of each comes.
  std::vector<std::pair<std::pair<std::string, std::string>, std::vector<std::string>>> parts;
  for (const std::string& name : names) {
    auto key = ends(name);
    if (counts[key] < 2) key.second = "";
    const std::string middle = name.substr(key.first.size(), name.size() - key.first.size() - key.second.size());
    auto part = std::find_if(parts.begin(), parts.end(), [&](const auto& other) { return other.first == key; });
    if (part == parts.end()) part = parts.insert(parts.end(), {key, {}});
    part->second.push_back(middle);
  }
  std::vector<std::string> words;
  for (const auto& [key, middles] : parts) words.push_back(key.first + any_of(middles) + key.second);
  return any_of(words);
}

// "0-2,5". Layers in which none of the kinds has a tensor may belong to the set or not: whatever makes it shorter.
std::string layer_text(const Kinds& all, const Rule& rule) {
  std::vector<std::string> ranges;
  bool is_open = false;
  size_t first = 0, last = 0;
  const auto close = [&] {
    if (!is_open) return;
    ranges.push_back(first == last ? fmt::format("{}", all.layers[first])
                                   : fmt::format("{}-{}", all.layers[first], all.layers[last]));
    is_open = false;
  };
  for (size_t i = 0; i < all.layers.size(); ++i) {
    if (rule.layers.test(i)) {
      if (!is_open) first = i;
      is_open = true;
      last = i;
    } else if (std::any_of(rule.kinds.begin(), rule.kinds.end(),
                           [&](size_t kind) { return all.kinds[kind].present.test(i); })) {
      close();
    }
  }
  close();
  return join(ranges, ",");
}

// Exact patterns are anchored and quoted. The others are what people write; they leave dots as they are.
std::string pattern(const Kinds& all, const Rule& rule, bool exact) {
  if (rule.place == Place::kBase) {
    // The base leaves alone what is no larger as it was published. A rule does not.
    const bool must_ask = std::any_of(rule.tensors.begin(), rule.tensors.end(), [&](size_t i) {
      return formats::is_native(all.tensors[i].type) && all.tensors[i].type != rule.type;
    });
    return must_ask && format(rule.type).is_quantized() ? "." : "*";
  }
  constexpr std::string_view kEnding = ".weight";
  std::vector<std::string> names;
  bool end_alike = !exact;
  for (const size_t kind : rule.kinds) {
    names.push_back(exact ? quoted(all.kinds[kind].name) : all.kinds[kind].name);
    end_alike = end_alike && names.back().ends_with(kEnding) && names.back().size() > kEnding.size();
  }
  if (end_alike) {
    for (std::string& name : names) name.resize(name.size() - kEnding.size());
  }
  const std::string alternatives = end_alike ? short_alternatives(names) + std::string(kEnding) : any_of(names);
  if (rule.place == Place::kOutside) return "^" + alternatives + (exact ? "$" : "");
  const std::string layers = rule.place == Place::kAllLayers ? ":" : layer_text(all, rule);
  return fmt::format(fmt::runtime(exact ? "^blk\\.{{{}}}\\.{}$" : "blk.{{{}}}.{}"), layers, alternatives);
}

std::string size_text(uint64_t bytes) {
  constexpr const char* kUnits[] = {"KiB", "MiB", "GiB", "TiB"};
  double size = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  while (size >= 1000 && unit + 1 < std::size(kUnits)) size /= 1024, ++unit;
  return fmt::format("{:.2f} {}", size, kUnits[unit]);
}

uint64_t bytes_of(const Kinds& all, const std::vector<size_t>& tensors, const std::vector<Type>& types) {
  uint64_t sum = 0;
  for (const size_t i : tensors) sum += gguf::tensor_bytes(format(types[i]), all.tensors[i].ne).value_or(0);
  return sum;
}

// "138 tensors, 7.89 GiB (71.3 %), loss 0.0123".
std::string figures(const Kinds& all, const std::vector<size_t>& tensors, const std::vector<Type>& types,
                    uint64_t total_bytes, const PlanNotes& notes) {
  const uint64_t bytes = bytes_of(all, tensors, types);
  std::string result =
      fmt::format("{} {}, {}", tensors.size(), tensors.size() == 1 ? "tensor" : "tensors", size_text(bytes));
  if (total_bytes > 0) {
    result += fmt::format(" ({:.1f} %)", 100 * static_cast<double>(bytes) / static_cast<double>(total_bytes));
  }
  double loss = 0;
  for (const size_t i : tensors) {
    const auto known = notes.losses.find(all.tensors[i].name);
    // A sum with a part missing would be mistaken for the whole.
    if (known == notes.losses.end()) return result;
    loss += known->second;
  }
  return result + fmt::format(", loss {:.4g}", loss);
}

// The order of the lines: the rule that decides most bytes first, but a rule for all layers after those for some of
// them, and the base last.
std::vector<const Rule*> in_order(const Kinds& all, const Rules& rules, const std::vector<Type>& types) {
  std::vector<std::pair<uint64_t, const Rule*>> waiting;
  for (const Rule& rule : rules.rules) waiting.emplace_back(bytes_of(all, rule.tensors, types), &rule);
  std::stable_sort(waiting.begin(), waiting.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  const auto must_wait = [&](const Rule& rule) {
    if (rule.place != Place::kAllLayers && rule.place != Place::kBase) return false;
    return std::any_of(waiting.begin(), waiting.end(), [&](const auto& entry) {
      const Rule& other = *entry.second;
      if (&other == &rule) return false;
      if (rule.place == Place::kBase) return true;
      return other.place == Place::kLayers &&
             std::find_first_of(rule.kinds.begin(), rule.kinds.end(), other.kinds.begin(), other.kinds.end()) !=
                 rule.kinds.end();
    });
  };
  std::vector<const Rule*> order;
  while (!waiting.empty()) {
    const auto next =
        std::find_if(waiting.begin(), waiting.end(), [&](const auto& entry) { return !must_wait(*entry.second); });
    STEELYARD_CHECK(next != waiting.end());
    order.push_back(next->second);
    waiting.erase(next);
  }
  return order;
}

std::string write(const Kinds& all, const std::vector<Type>& types, const PlanNotes& notes, bool exact) {
  std::string text;
  for (size_t begin = 0; begin < notes.head.size();) {
    const size_t end = std::min(notes.head.find('\n', begin), notes.head.size());
    const std::string line = printable(std::string_view(notes.head).substr(begin, end - begin), 1000);
    text += line.empty() ? "#\n" : fmt::format("# {}\n", line);
    begin = end + 1;
  }
  if (!text.empty()) text += "\n";

  const Rules rules = make_rules(all, types);
  if (rules.rules.empty()) return text + "* = keep\n";
  std::vector<size_t> decided;
  for (const Rule& rule : rules.rules) decided.insert(decided.end(), rule.tensors.begin(), rule.tensors.end());
  std::sort(decided.begin(), decided.end());
  text += fmt::format("# All rules: {}\n", figures(all, decided, types, 0, notes));

  const uint64_t total = bytes_of(all, decided, types);
  for (const Rule* rule : in_order(all, rules, types)) {
    std::string comment = figures(all, rule->tensors, types, total, notes);
    if (notes.comment) {
      std::vector<std::string> names;
      for (const size_t i : rule->tensors) names.push_back(all.tensors[i].name);
      const std::string words = printable(notes.comment(names), 1000);
      if (!words.empty()) comment += ": " + words;
    }
    text += fmt::format("\n# {}\n{} = {}\n", comment, pattern(all, *rule, exact), format(rule->type).name);
  }
  return text;
}

bool gives(const std::string& text, std::span<const gguf::TensorInfo> tensors, const std::vector<Type>& types) {
  const plan::Resolution resolution = plan::resolve(plan::Plan::parse(text, "plan"), tensors);
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (resolution.decisions[i].type != types[i]) return false;
  }
  return resolution.unused.empty();
}

}  // namespace

std::vector<Type> stored_types(std::span<const gguf::TensorInfo> tensors, const Types& types) {
  std::vector<Type> result;
  size_t n_named = 0;
  for (const gguf::TensorInfo& tensor : tensors) {
    const auto wanted = types.find(tensor.name);
    n_named += wanted != types.end();
    const bool is_decided = wanted != types.end() && !plan::protection(tensor);
    result.push_back(is_decided ? plan::storable(wanted->second, tensor) : tensor.type);
  }
  STEELYARD_CHECK(n_named == types.size());
  return result;
}

std::string plan_text(std::span<const gguf::TensorInfo> tensors, const Types& types, const PlanNotes& notes) {
  const Kinds all(tensors);
  const std::vector<Type> stored = stored_types(tensors, types);
  // Names of other writers may have characters that mean something in a pattern.
  const bool is_usual = std::all_of(all.kinds.begin(), all.kinds.end(), [](const Kind& kind) {
    return std::all_of(kind.name.begin(), kind.name.end(), [](char c) { return is_plain(c) || c == '.'; });
  });
  std::string text = write(all, stored, notes, !is_usual);
  // Or one name contains another one.
  if (is_usual && !gives(text, tensors, stored)) text = write(all, stored, notes, true);
  STEELYARD_CHECK(gives(text, tensors, stored));
  return text;
}

}  // namespace steelyard::search
