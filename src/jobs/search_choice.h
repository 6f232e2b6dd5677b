// From what tensors lose to a plan: the types with the least divergence within a budget, and the text that gives them.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "gguf/tensor_info.h"
#include "search/loss_model.h"

namespace steelyard::jobs {

/// Types by name, between commas. Error for one that cannot be written, and for none.
std::vector<formats::Type> candidate_types(const std::string& names);

/// Every tensor that plans decide about in the smallest of these types; those of `fixed` as there.
search::Types smallest_types(std::span<const gguf::TensorInfo> tensors, std::span<const formats::Type> candidates,
                             const search::Types& fixed);

/// What types are chosen for.
struct ChoiceProblem {
  std::span<const gguf::TensorInfo> tensors;
  std::vector<search::TensorDamage> damages;   ///< of all tensors (search::with_all_tensors())
  std::vector<search::TensorDamage> measured;  ///< only what is known, for comments
  std::vector<std::vector<std::string>> ties;
  int64_t max_rules = 0;  ///< of the plan, the base included; 0: any number
};

/// What a plan with few rules costs, as predicted.
struct RuleLimit {
  int64_t max_rules = 0;
  int64_t rules = 0, rules_without = 0;           ///< with the limit, and without it
  double divergence = 0, divergence_without = 0;  ///< nats per token

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("max_rules", self.max_rules);
    visit("rules", self.rules);
    visit("rules_without", self.rules_without);
    visit("divergence", self.divergence);
    visit("divergence_without", self.divergence_without);
  }
};

struct Choice {
  search::Types types;    ///< of all tensors
  std::string text;       ///< the plan
  uint64_t budget = 0;    ///< bytes of tensor data that could be used
  double divergence = 0;  ///< as predicted, in nats per token
  std::optional<RuleLimit> limit;
  bool has_largest_types = false;    ///< no tensor could lose less
  std::vector<double> tensor_split;  ///< layers of each device, where there are several
};

/// Within one budget for all tensors, in bytes. Error as allocate(), simplify(), and for ties without a common type.
search::Types choose_types(const ChoiceProblem& problem, uint64_t budget);
/// At most so many rules, from a choice without that limit; says in `choice` what it costs.
search::Types choose_simple(const ChoiceProblem& problem, uint64_t budget, const search::Types& best, Choice& choice);

/// Completes a choice from its types. `note`: one more line of the head; may be empty.
void write_choice(const ChoiceProblem& problem, const std::string& note, Choice& choice);

/// The tensors as they would be in these types.
std::vector<gguf::TensorInfo> tensors_in(std::span<const gguf::TensorInfo> tensors, const search::Types& types);

}  // namespace steelyard::jobs
