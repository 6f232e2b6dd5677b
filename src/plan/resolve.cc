#include "plan/resolve.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "base/checked.h"
#include "base/error.h"
#include "gguf/block_name.h"
#include "plan/protection.h"

namespace steelyard::plan {
namespace {

// An active rule, and what it has decided.
struct ActiveRule {
  const PlanRule* rule;
  std::unique_ptr<RE2> regex;
  // If the rule tests an index: the tensors that have it. None: every tensor that the pattern matches.
  std::optional<std::set<const gguf::TensorInfo*>> indexed;
  size_t n_decided = 0;
  size_t n_protected = 0;                 // tensors it matched first, but which are protected
  const PlanRule* shadowed_by = nullptr;  // the first of the rules that took a tensor this one matches

  bool matches(const gguf::TensorInfo& tensor) const {
    return RE2::PartialMatch(tensor.name, *regex) && (!indexed || indexed->contains(&tensor));
  }
};

bool comes_before(const gguf::TensorInfo& a, const gguf::TensorInfo& b) {
  return std::pair(gguf::block_of(a.name), std::string_view(a.name)) <
         std::pair(gguf::block_of(b.name), std::string_view(b.name));
}

// The tensors whose index is in `index`, among those that `regex` matches and that a plan may change. They are counted
// by layer and then by name.
std::set<const gguf::TensorInfo*> take_indexed(const RE2& regex, const LayerSet& index, int64_t n_layers,
                                               std::span<const gguf::TensorInfo> tensors) {
  std::vector<const gguf::TensorInfo*> matched;
  for (const gguf::TensorInfo& tensor : tensors) {
    if (!protection(tensor) && RE2::PartialMatch(tensor.name, regex)) matched.push_back(&tensor);
  }
  std::sort(matched.begin(), matched.end(), [](const auto* a, const auto* b) { return comes_before(*a, *b); });
  std::set<const gguf::TensorInfo*> taken;
  for (size_t i = 0; i < matched.size(); ++i) {
    if (index.contains(static_cast<int64_t>(i), n_layers)) taken.insert(matched[i]);
  }
  return taken;
}

std::string cite(const PlanRule& rule) { return fmt::format("{} `{}`", rule.where(), printable(rule.pattern)); }

// F32 is always safe. Any other type for a protected tensor would break files for the runtimes that load them.
bool is_granted(const PlanRule& rule) { return rule.type == formats::Type::F32; }

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
    decision.is_overruled = has_rule && decision.wanted != tensor.type;
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

// Adds the size of `decision` to the totals.
void accumulate_shrinkage(const Decision& decision, Resolution& resolution) {
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

}  // namespace

formats::Type storable(formats::Type type, const gguf::TensorInfo& tensor) {
  while (tensor.ne[0] % format(type).block_len != 0) {
    const std::optional<formats::Type> fallback = format(type).fallback;
    if (!fallback) {
      fail(printable(tensor.name), "rows of {} do not divide into blocks of {}", tensor.ne[0], format(type).name);
    }
    type = *fallback;
  }
  return type;
}

std::vector<const Decision*> Resolution::by_layer() const {
  std::vector<const Decision*> sorted;
  for (const Decision& decision : decisions) sorted.push_back(&decision);
  std::sort(sorted.begin(), sorted.end(),
            [](const Decision* a, const Decision* b) { return comes_before(*a->tensor, *b->tensor); });
  return sorted;
}

Resolution resolve(const Plan& plan, std::span<const gguf::TensorInfo> tensors, const Facts& facts) {
  Layers layers;
  Facts known = facts;
  known.tied = true;
  for (const gguf::TensorInfo& tensor : tensors) {
    layers.add(tensor.name);
    if (tensor.name == "output.weight") known.tied = false;
  }
  std::vector<ActiveRule> active;
  for (const PlanRule& rule : plan.rules()) {
    if (!rule.condition.holds(known)) continue;
    ActiveRule& added = active.emplace_back(ActiveRule{&rule, Pattern(rule.pattern, rule.where()).compile(layers)});
    if (const auto& index = rule.condition.index()) {
      added.indexed = take_indexed(*added.regex, *index, layers.count, tensors);
    }
  }

  Resolution resolution;
  resolution.asks_for_types =
      (plan.base() && plan.base()->type) ||
      std::ranges::any_of(plan.rules(), [](const PlanRule& rule) { return rule.type.has_value(); });
  for (const PlanRule& rule : plan.rules()) {
    if (!rule.replaces.empty()) resolution.replacing.push_back(rule);
  }
  if (plan.base() && !plan.base()->replaces.empty()) resolution.replacing.push_back(*plan.base());
  resolution.decisions.reserve(tensors.size());
  for (const gguf::TensorInfo& tensor : tensors) {
    ActiveRule* first = nullptr;
    for (ActiveRule& candidate : active) {
      // A rule that has decided something needs no further tracking. Only then may a match be skipped.
      if (first != nullptr && candidate.n_decided > 0) continue;
      if (!candidate.matches(tensor)) continue;
      if (first == nullptr) {
        first = &candidate;
      } else if (candidate.shadowed_by == nullptr || first->rule < candidate.shadowed_by) {
        // The first of all is named, so that the message does not depend on the order of tensors.
        candidate.shadowed_by = first->rule;
      }
    }
    Decision decision = decide(plan, tensor, first == nullptr ? nullptr : first->rule);
    if (first != nullptr) ++(decision.reason == Reason::kProtected ? first->n_protected : first->n_decided);

    accumulate_shrinkage(decision, resolution);
    resolution.decisions.push_back(std::move(decision));
  }
  if (resolution.n_elements > 0) {
    resolution.bits_per_weight =
        8.0 * static_cast<double>(resolution.total_bytes) / static_cast<double>(resolution.n_elements);
  }
  for (const ActiveRule& rule : active) {
    if (rule.n_decided > 0 || rule.rule->optional) continue;
    const std::string shadowed_by = rule.shadowed_by != nullptr ? cite(*rule.shadowed_by) : "";
    resolution.unused.push_back({*rule.rule, shadowed_by, rule.n_protected > 0});
  }
  return resolution;
}

}  // namespace steelyard::plan
