// What a choice of types does to the divergence at the end. Rounding errors do two things. Outputs move, which costs
// the square of the error; such losses of tensors add up (`smooth`). And in a mixture of experts some tokens choose
// other experts, whose outputs have little to do with those of the right ones: that costs in proportion to the error
// itself. Errors of different tensors are independent, so their squares add up, and the choices change with the root of
// the sum (`jumps`). docs/search.md has the measurements.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "search/plan_text.h"
#include "search/sensitivity.h"

namespace steelyard::search {

/// One tensor in one type.
struct Damage {
  formats::Type type;  ///< as the tensor really gets it
  uint64_t bytes = 0;
  double smooth = 0;  ///< nats per position
  double jumps = 0;   ///< (nats per position) squared
};

struct TensorDamage {
  std::string tensor;
  std::vector<Damage> types;  ///< at least one
};

/// Nats per position.
struct Divergence {
  double smooth = 0;
  double jumps = 0;  ///< the root of the sum

  double sum() const { return smooth + jumps; }
};

/// Of a tensor in its type there; null where nothing is known of it.
const Damage* damage_in(const TensorDamage& tensor, const Types& types);

/// What each tensor adds to the divergence: its smooth loss, and its share of the root. Those of whose type nothing is
/// known are left out.
std::map<std::string, double> losses(std::span<const TensorDamage> damages, const Types& types);

/// Of all tensors together. Every one must be in `types`, with a type that it has damage of.
Divergence divergence(std::span<const TensorDamage> damages, const Types& types);

/// Damages of all tensors, in their order. One of `fixed` has no other type than there. One without damages has the
/// type of `others`, or else its own. Either loses what is known of this type, and nothing where nothing is.
std::vector<TensorDamage> with_all_tensors(std::span<const gguf::TensorInfo> tensors,
                                           std::span<const TensorDamage> damages, const Types& fixed,
                                           const Types& others);

/// What a choice must keep to.
struct ChoiceLimits {
  std::vector<uint64_t> budgets;               ///< bytes of the tensors of each part, at most
  std::map<std::string, size_t> parts;         ///< by tensor; who is not named is in the first part
  std::vector<std::vector<std::string>> ties;  ///< tensors of one part that get one type
};

/// The types with the least divergence within the limits. Error as allocate(), and where tied tensors have no type in
/// common.
Types allocate_types(std::span<const TensorDamage> damages, const ChoiceLimits& limits);

/// One group per tensor or tie. Its losses have a sum that no divergence exceeds, and that is reached where the jumps
/// are `jumps`: smooth losses, and the tangent of the root.
std::vector<Group> tangent_groups(std::span<const TensorDamage> damages, std::span<const std::vector<std::string>> ties,
                                  double jumps);

/// The best of what `choose` makes of tangent groups: first of those at `jumps`, then of those at the jumps of what it
/// chose, until that is no better or was done `most_steps` times.
Types follow_tangents(std::span<const TensorDamage> damages, std::span<const std::vector<std::string>> ties,
                      double jumps, int most_steps, const std::function<Types(std::span<const Group>)>& choose);

}  // namespace steelyard::search
