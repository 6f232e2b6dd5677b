// What a choice of types does to the divergence at the end. Rounding errors do two things. Outputs move, which costs
// the square of the error; such losses of tensors add up (`smooth`). And in a mixture of experts some tokens choose
// other experts, whose outputs have little to do with those of the right ones: that costs in proportion to the error
// itself. Errors of different tensors are independent, so their squares add up, and the choices change with the root of
// the sum (`jumps`). docs/search.md has the measurements.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "search/plan_text.h"

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

/// Of all tensors together. Every one must be in `types`, with a type that it has damage of.
Divergence divergence(std::span<const TensorDamage> damages, const Types& types);

/// The types with the least divergence within so many bytes, other tensors staying as in `start`. Error as allocate().
Types allocate_types(std::span<const TensorDamage> damages, const Types& start, uint64_t budget_bytes);

}  // namespace steelyard::search
