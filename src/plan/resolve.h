// A plan applied to a model: the type and size of every tensor, decided before any work. Pure: the same plan, tensors
// and facts give the same decision for each tensor, in whatever order the tensors come.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/tensor_info.h"
#include "plan/plan.h"

namespace steelyard::plan {

enum class Reason {
  kRule,       ///< a rule matched
  kBase,       ///< no rule matched, the base did
  kNoRule,     ///< nothing matched and there is no base: kept as in the source
  kProtected,  ///< kept whatever the plan says: norms, routers, ... (plan/protection.h)
  kNative,     ///< kept because the plan's type is no smaller than the one the model is published in
};

struct Decision {
  const gguf::TensorInfo* tensor;  ///< points into the span given to resolve()
  formats::Type wanted;            ///< what the plan asks for
  formats::Type type;              ///< what the tensor gets: `wanted`, or its fallback where rows do not divide
  Reason reason;
  std::string rule;             ///< "plans/x.plan:12 `regex`" of the rule or base that applies; empty without one
  std::string_view protection;  ///< why it is protected ("norm"); empty otherwise
  bool is_overruled;            ///< protected although a rule asks for another type
  uint64_t bytes;               ///< in `type`
  std::optional<formats::Type> declined = {};  ///< kNative: what it would have got

  bool is_fallback() const { return type != wanted; }
};

/// A rule that decides no tensor.
struct UnusedRule {
  PlanRule rule;
  std::string shadowed_by;  ///< "x.plan:12 `regex`", the earliest of the rules that take what it matches; may be empty
  bool is_protected = false;  ///< it matches tensors that are never quantized
};

struct Resolution {
  std::vector<Decision> decisions;  ///< one per tensor, in the order given
  uint64_t total_bytes = 0;         ///< of tensor data, without padding and header
  uint64_t n_elements = 0;
  double bits_per_weight = 0;      ///< 8 * total_bytes / n_elements; 0 for no elements
  std::vector<UnusedRule> unused;  ///< those written with `=`, in the order of the plan

  bool asks_for_types = false;  ///< the plan names a type somewhere: it is not a copy that is wanted

  std::vector<PlanRule> replacing;  ///< those that took the place of another (PlanRule::replaces)

  /// The decisions by layer, then by name: an order for people, whatever the order in the file.
  std::vector<const Decision*> by_layer() const;
};

/// What a tensor gets that is to be stored in `type`: the first of the chain of fallbacks whose blocks divide its rows.
/// Error names the tensor when there is none.
formats::Type storable(formats::Type type, const gguf::TensorInfo& tensor);

/// Decides every tensor; `facts` are for the conditions of rules. The tensors must outlive the result. Error names the
/// rule whose pattern cannot be compiled for this model, or the tensor whose size overflows.
Resolution resolve(const Plan& plan, std::span<const gguf::TensorInfo> tensors, const Facts& facts = {});

}  // namespace steelyard::plan
