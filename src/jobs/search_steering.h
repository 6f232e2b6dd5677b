// What a user demands of the types that a search chooses: some are fixed, some are tied, and the plan shall be short.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "gguf/source.h"
#include "plan/plan.h"
#include "search/plan_text.h"

namespace steelyard::jobs {

struct SteeringOptions {
  std::vector<std::string> fix;  ///< REGEX=TYPE: these tensors have this type, before and after
  bool tie = false;              ///< gate and up of a layer get one type
  int64_t simple = 0;            ///< rules of a proposal, at most; 0: any number

  bool given() const { return !fix.empty() || tie || simple != 0; }
  /// Error for numbers out of range.
  void check() const;
  /// `plan` with these rules before its own. Error for a rule that is none, and for a base.
  plan::Plan before(plan::Plan plan) const;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("fix", self.fix);
    visit("tie", self.tie);
    visit("simple", self.simple);
  }
};

/// The types of the tensors that `fix` decides. Error as before(), for a rule that decides nothing, for a type that
/// cannot be written, and for tensors that plans leave alone.
search::Types fixed_types(const SteeringOptions& options, const gguf::Source& source, bool has_imatrix);

/// Each gate with its up, dense, of routed experts and of shared ones.
std::vector<std::vector<std::string>> gates_with_ups(std::span<const gguf::TensorInfo> tensors);

}  // namespace steelyard::jobs
