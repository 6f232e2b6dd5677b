#include "plan/resolve.h"

#include <algorithm>
#include <memory>
#include <optional>

#include "base/checked.h"
#include "base/error.h"
#include "plan/protection.h"

namespace steelyard {
namespace {

bool applies(Condition condition, bool imatrix, bool tied) {
  switch (condition) {
    case Condition::kAlways:
      return true;
    case Condition::kImatrix:
      return imatrix;
    case Condition::kNotImatrix:
      return !imatrix;
    case Condition::kTied:
      return tied;
    case Condition::kNotTied:
      return !tied;
  }
  return false;
}

// A rule that takes part, and what has become of it.
struct ActiveRule {
  const PlanRule* rule;
  std::unique_ptr<RE2> regex;
  size_t n_decided = 0;
  size_t n_protected = 0;                 // tensors it matched first, but which are protected
  const PlanRule* shadowed_by = nullptr;  // the first of the rules that took a tensor this one matches
};

std::string cite(const PlanRule& rule) { return fmt::format("{} `{}`", rule.where(), printable(rule.pattern)); }

// The first type of the chain of fallbacks whose blocks divide rows of this tensor.
Type storable(Type type, const gguf::TensorInfo& tensor) {
  while (tensor.ne[0] % format(type).block_len != 0) {
    const std::optional<Type> fallback = format(type).fallback;
    if (!fallback) {
      fail(printable(tensor.name), "rows of {} do not divide into blocks of {}", tensor.ne[0], format(type).name);
    }
    type = *fallback;
  }
  return type;
}

// F32 is always safe to ask for; anything else for a protected tensor would break files for the runtimes that load
// them.
bool is_granted(const PlanRule& rule) { return rule.type == Type::F32; }

Decision decide(const Plan& plan, const gguf::TensorInfo& tensor, const PlanRule* rule) {
  const bool has_rule = rule != nullptr;
  if (!has_rule && plan.base()) rule = &*plan.base();

  Decision decision{.tensor = &tensor};
  decision.reason = has_rule ? Reason::kRule : rule != nullptr ? Reason::kBase : Reason::kNoRule;
  if (rule != nullptr) decision.rule = cite(*rule);
  decision.wanted = rule != nullptr && rule->type ? *rule->type : tensor.type;

  const std::optional<std::string_view> protected_as = protection(tensor);
  const bool is_integer = format(tensor.type).decode == nullptr;
  if (protected_as && !(has_rule && is_granted(*rule) && !is_integer)) {
    decision.reason = Reason::kProtected;
    decision.protection = *protected_as;
    decision.wanted = tensor.type;
  }
  decision.type = storable(decision.wanted, tensor);
  const std::optional<uint64_t> bytes = gguf::tensor_bytes(format(decision.type), tensor.ne);
  if (!bytes) fail(printable(tensor.name), "its size in {} does not fit 64 bits", format(decision.type).name);
  decision.bytes = *bytes;
  return decision;
}

// Adds what `decision` takes to the totals.
void add_sizes(const Decision& decision, Resolution& resolution) {
  const gguf::TensorInfo& tensor = *decision.tensor;
  std::optional<uint64_t> elements = 1;
  for (const int64_t n : tensor.ne) {
    if (elements) elements = checked_mul(*elements, static_cast<uint64_t>(n));
  }
  if (elements) elements = checked_add(resolution.n_elements, *elements);
  const std::optional<uint64_t> bytes = checked_add(resolution.total_bytes, decision.bytes);
  if (!bytes || !elements) fail(printable(tensor.name), "the sizes of the tensors up to here do not fit 64 bits");
  resolution.total_bytes = *bytes;
  resolution.n_elements = *elements;
}

std::string why_unused(const ActiveRule& active) {
  std::string why;
  if (active.n_protected > 0) why = "matches only tensors that are never quantized";
  if (active.shadowed_by != nullptr) {
    why += (why.empty() ? "every tensor it matches is taken by " : ", or taken by ") + cite(*active.shadowed_by);
  }
  return why.empty() ? "matches no tensor" : why;
}

}  // namespace

Resolution resolve(const Plan& plan, std::span<const gguf::TensorInfo> tensors, const Facts& facts) {
  Layers layers;
  bool tied = true;
  for (const gguf::TensorInfo& tensor : tensors) {
    layers.add(tensor.name);
    if (tensor.name == "output.weight") tied = false;
  }
  std::vector<ActiveRule> active;
  for (const PlanRule& rule : plan.rules()) {
    if (!applies(rule.condition, facts.imatrix, tied)) continue;
    active.push_back({&rule, Pattern(rule.pattern, rule.where()).compile(layers)});
  }

  Resolution resolution;
  resolution.decisions.reserve(tensors.size());
  for (const gguf::TensorInfo& tensor : tensors) {
    ActiveRule* first = nullptr;
    for (ActiveRule& candidate : active) {
      // Once a rule has decided something it needs no more watching; only then may a match be skipped.
      if (first != nullptr && candidate.n_decided > 0) continue;
      if (!RE2::PartialMatch(tensor.name, *candidate.regex)) continue;
      if (first == nullptr) {
        first = &candidate;
      } else if (candidate.shadowed_by == nullptr || first->rule < candidate.shadowed_by) {
        // The earliest of them all is named, so that the message does not depend on the order of tensors.
        candidate.shadowed_by = first->rule;
      }
    }
    Decision decision = decide(plan, tensor, first == nullptr ? nullptr : first->rule);
    if (first != nullptr) ++(decision.reason == Reason::kProtected ? first->n_protected : first->n_decided);

    add_sizes(decision, resolution);
    resolution.decisions.push_back(std::move(decision));
  }
  if (resolution.n_elements > 0) {
    resolution.bits_per_weight =
        8.0 * static_cast<double>(resolution.total_bytes) / static_cast<double>(resolution.n_elements);
  }
  for (const ActiveRule& rule : active) {
    if (rule.n_decided == 0 && !rule.rule->optional) resolution.unused.push_back({*rule.rule, why_unused(rule)});
  }
  return resolution;
}

}  // namespace steelyard
