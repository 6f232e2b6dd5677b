#include "plan/resolve.h"

#include <re2/re2.h>
#include <re2/set.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "base/checked.h"
#include "base/error.h"
#include "formats/native.h"
#include "gguf/block_name.h"
#include "plan/protection.h"

namespace steelyard::plan {
namespace {

// An active rule, and what it has decided.
struct ActiveRule {
  const PlanRule* rule;
  // If the rule tests an index: the tensors that have it. None: every tensor that the pattern matches.
  std::optional<std::set<const gguf::TensorInfo*>> indexed;
  size_t n_decided = 0;
  size_t n_protected = 0;                 // tensors it matched first, but which are protected
  const PlanRule* shadowed_by = nullptr;  // the first of the rules that took a tensor this one matches

  bool takes(const gguf::TensorInfo& tensor, bool predicts) const {
    return (!indexed || indexed->contains(&tensor)) && rule->condition.predicting().value_or(predicts) == predicts;
  }
};

// The blocks that predict further tokens: those with a matrix that takes in the trunk's output, or a norm before it.
class PredictionBlocks {
 public:
  void add(std::string_view tensor) {
    const auto name = gguf::block_name(tensor);
    if (name && tensor.substr(name->end).starts_with(".nextn.")) blocks_.insert(name->block);
  }
  bool contain(std::string_view tensor) const {
    if (blocks_.empty()) return false;
    const auto block = gguf::block_of(tensor);
    return block && blocks_.contains(*block);
  }

 private:
  std::set<int64_t> blocks_;
};

// The patterns of all active rules in one automaton, so that a name is read once and not once per rule.
class Patterns {
 public:
  explicit Patterns(const Layers& layers) : layers_(layers), set_(options(), RE2::UNANCHORED) {}

  void add(const PlanRule& rule) {
    patterns_.emplace_back(rule.pattern, rule.where());
    const std::string expression = patterns_.back().expression(layers_);
    n_bytes_ += expression.size();
    if (n_bytes_ > kMostBytes) {
      fail(rule.where(), "the layer sets up to here stand for too many of the model's {} layers",
           layers_.present.size());
    }
    std::string error;
    if (set_.Add(expression, &error) < 0) fail(rule.where(), "bad regular expression: {}", printable(error));
  }
  // After all were added.
  void compile() { one_by_one_ = !patterns_.empty() && !set_.Compile(); }

  // Numbers of the rules that match, in order.
  const std::vector<int>& matching(const std::string& name) {
    found_.clear();
    RE2::Set::ErrorInfo error{RE2::Set::kNoError};
    if (patterns_.empty()) return found_;
    if (!one_by_one_ && (set_.Match(name, &found_, &error) || error.kind == RE2::Set::kNoError)) {
      std::sort(found_.begin(), found_.end());
      return found_;
    }
    // Patterns that are too much together. A few such names are no reason to give up on the others.
    found_.clear();
    while (compiled_.size() < patterns_.size()) compiled_.push_back(patterns_[compiled_.size()].compile(layers_));
    for (size_t i = 0; i < compiled_.size(); ++i) {
      if (RE2::PartialMatch(name, *compiled_[i])) found_.push_back(static_cast<int>(i));
    }
    return found_;
  }

 private:
  static constexpr size_t kMostBytes = size_t{16} << 20;

  static RE2::Options options() {
    RE2::Options options;
    options.set_log_errors(false);
    options.set_max_mem(int64_t{256} << 20);
    return options;
  }

  const Layers& layers_;
  std::vector<Pattern> patterns_;
  RE2::Set set_;
  size_t n_bytes_ = 0;
  bool one_by_one_ = false;
  std::vector<std::unique_ptr<RE2>> compiled_;  // where the set does not work
  std::vector<int> found_;
};

bool comes_before(const gguf::TensorInfo& a, const gguf::TensorInfo& b) {
  return std::pair(gguf::block_of(a.name), std::string_view(a.name)) <
         std::pair(gguf::block_of(b.name), std::string_view(b.name));
}

// The tensors that `condition` takes by their index, among those that a rule matches and that a plan may change. They
// are counted by layer and then by name.
std::set<const gguf::TensorInfo*> take_indexed(std::vector<const gguf::TensorInfo*> matched, const Condition& condition,
                                               int64_t n_layers) {
  const int64_t whole = condition.is_place() ? static_cast<int64_t>(matched.size()) : n_layers;
  std::sort(matched.begin(), matched.end(), [](const auto* a, const auto* b) { return comes_before(*a, *b); });
  std::set<const gguf::TensorInfo*> taken;
  for (size_t i = 0; i < matched.size(); ++i) {
    if (condition.index()->contains(static_cast<int64_t>(i), whole)) taken.insert(matched[i]);
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
  const auto bytes_in = [&](formats::Type type) {
    const std::optional<uint64_t> bytes = gguf::tensor_bytes(format(type), tensor.ne);
    if (!bytes) fail(printable(tensor.name), "its size in {} does not fit 64 bits", format(type).name);
    return *bytes;
  };
  decision.bytes = bytes_in(decision.type);
  // Who means these tensors says so with a rule, or wants all of the file without quantization.
  const bool is_asked = (has_rule && !rule->optional) || !format(decision.type).is_quantized();
  if (!is_asked && decision.type != tensor.type && formats::is_native(tensor.type) &&
      decision.bytes >= bytes_in(tensor.type)) {
    decision.declined = decision.type;
    decision.reason = Reason::kNative;
    decision.wanted = decision.type = tensor.type;
    decision.bytes = bytes_in(tensor.type);
  }
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
  PredictionBlocks prediction;
  for (const gguf::TensorInfo& tensor : tensors) {
    layers.add(tensor.name);
    prediction.add(tensor.name);
    if (tensor.name == "output.weight") known.tied = false;
  }
  std::vector<ActiveRule> active;
  Patterns patterns(layers);
  bool has_index = false;
  for (const PlanRule& rule : plan.rules()) {
    if (!rule.condition.holds(known)) continue;
    active.push_back({&rule});
    patterns.add(rule);
    has_index = has_index || rule.condition.index();
  }
  patterns.compile();
  std::vector<std::vector<const gguf::TensorInfo*>> matched(active.size());  // of rules that test an index
  for (const gguf::TensorInfo& tensor : tensors) {
    if (!has_index || protection(tensor)) continue;
    for (const int i : patterns.matching(tensor.name)) {
      if (active[static_cast<size_t>(i)].rule->condition.index()) matched[static_cast<size_t>(i)].push_back(&tensor);
    }
  }
  for (size_t i = 0; i < active.size(); ++i) {
    const Condition& condition = active[i].rule->condition;
    if (condition.index()) active[i].indexed = take_indexed(std::move(matched[i]), condition, layers.count);
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
    const bool predicts = prediction.contain(tensor.name);
    for (const int i : patterns.matching(tensor.name)) {
      ActiveRule& candidate = active[static_cast<size_t>(i)];
      // A rule that has decided something needs no further tracking.
      if ((first != nullptr && candidate.n_decided > 0) || !candidate.takes(tensor, predicts)) continue;
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
