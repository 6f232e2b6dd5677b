#include "plan/condition.h"

#include <charconv>

#include "base/error.h"
#include "plan/text.h"

namespace steelyard::plan {
namespace {

struct NamedFact {
  std::string_view name;
  bool is_number;  // asked as `gqa >= 4`; the others as `imatrix` and `not imatrix`
  int64_t (*of)(const Facts&);
};

constexpr NamedFact kFacts[] = {
    {"imatrix", false, [](const Facts& facts) -> int64_t { return facts.imatrix; }},
    {"tied", false, [](const Facts& facts) -> int64_t { return facts.tied; }},
    {"gqa", true, [](const Facts& facts) { return facts.gqa; }},
    {"experts", true, [](const Facts& facts) { return facts.experts; }},
};

bool equal(int64_t a, int64_t b) { return a == b; }
bool differ(int64_t a, int64_t b) { return a != b; }

struct NamedComparison {
  std::string_view sign;
  bool (*holds)(int64_t, int64_t);
};

// A sign comes before shorter signs with the same beginning.
constexpr NamedComparison kComparisons[] = {
    {">=", [](int64_t a, int64_t b) { return a >= b; }},
    {"<=", [](int64_t a, int64_t b) { return a <= b; }},
    {">", [](int64_t a, int64_t b) { return a > b; }},
    {"<", [](int64_t a, int64_t b) { return a < b; }},
    {"==", equal},
    {"!=", differ},
};

constexpr std::string_view kKnown =
    "imatrix, not imatrix, tied, not tied, nextn, not nextn, gqa >= NUMBER, experts >= NUMBER, index in {LAYERS}, "
    "place in {TENSORS}";

// What stands between the words `and`, with single blanks.
std::vector<std::string> split_terms(std::string_view text) {
  std::vector<std::string> terms(1);
  while (!(text = trim(text)).empty()) {
    const std::string_view word = text.substr(0, text.find_first_of(kBlanks));
    text.remove_prefix(word.size());
    if (word == "and") {
      terms.emplace_back();
    } else {
      terms.back() += fmt::format("{}{}", terms.back().empty() ? "" : " ", word);
    }
  }
  return terms;
}

// Takes `prefix` off the front of `text`, and blanks after it.
bool take(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text = trim(text.substr(prefix.size()));
  return true;
}

// The first element of an array, or the value itself. Models whose layers differ store one number per layer.
int64_t first_integer(const gguf::Metadata& metadata, const std::string& key, int64_t absent) {
  const gguf::KeyValue* entry = metadata.find(key);
  if (entry == nullptr || entry->type != gguf::ValueType::kArray) return metadata.integer(key, absent);
  const std::vector<int64_t> values = metadata.integers(key);
  return values.empty() ? absent : values.front();
}

}  // namespace

Facts model_facts(const gguf::Metadata& metadata, bool imatrix) {
  const std::string architecture(metadata.string("general.architecture", ""));
  // A model without a count of key-value heads has one for each query head.
  const int64_t heads = first_integer(metadata, architecture + ".attention.head_count", 0);
  const int64_t kv_heads = first_integer(metadata, architecture + ".attention.head_count_kv", heads);
  return {.imatrix = imatrix,
          .gqa = heads > 0 && kv_heads > 0 ? heads / kv_heads : 0,
          .experts = first_integer(metadata, architecture + ".expert_count", 0)};
}

void Condition::add(const std::string& term, const std::string& where) {
  terms_.push_back(term);
  std::string_view rest = term;
  const bool is_place = rest.starts_with("place ");
  if ((take(rest, "index in {") || take(rest, "place in {")) && rest.ends_with('}')) {
    if (index_) fail(where, "two sets for index or place; one set can list both, as in {{:1/8, 7/8:}}");
    rest.remove_suffix(1);
    index_ = LayerSet::parse(rest, where);
    is_place_ = is_place;
    return;
  }
  rest = term;
  const bool negated = take(rest, "not ");
  if (rest == "nextn") {
    if (predicting_ == negated) fail(where, "no tensor is both nextn and not nextn");
    predicting_ = !negated;
    return;
  }
  for (const NamedFact& fact : kFacts) {
    if (!fact.is_number && rest == fact.name) {
      questions_.push_back({fact.of, negated ? equal : differ, 0});
      return;
    }
    std::string_view digits = rest;
    if (!fact.is_number || negated || !take(digits, fact.name)) continue;
    for (const auto& [sign, holds] : kComparisons) {
      if (!take(digits, sign)) continue;
      int64_t number = 0;
      const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
      if (error != std::errc() || end != digits.data() + digits.size()) {
        fail(where, "'{}' is no number to compare {} with", printable(digits), fact.name);
      }
      questions_.push_back({fact.of, holds, number});
      terms_.back() = fmt::format("{} {} {}", fact.name, sign, number);
      return;
    }
  }
  fail(where, "unknown condition '{}'; expected one of: {}", printable(term), kKnown);
}

Condition Condition::parse(std::string_view text, const std::string& where) {
  Condition condition;
  for (const std::string& term : split_terms(text)) condition.add(term, where);
  return condition;
}

bool Condition::holds(const Facts& facts) const {
  for (const Question& question : questions_) {
    if (!question.compare(question.fact(facts), question.number)) return false;
  }
  return true;
}

std::string Condition::text() const {
  std::string text;
  for (const std::string& term : terms_) text += (text.empty() ? "" : " and ") + term;
  return text;
}

}  // namespace steelyard::plan
