#include "search/loss_model.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "search/allocation.h"

namespace steelyard::search {
namespace {

const Damage& damage_in(const TensorDamage& tensor, const Types& types) {
  const auto found = std::ranges::find(tensor.types, types.at(tensor.tensor), &Damage::type);
  STEELYARD_CHECK(found != tensor.types.end());
  return *found;
}

}  // namespace

Divergence divergence(std::span<const TensorDamage> damages, const Types& types) {
  Divergence sum;
  for (const TensorDamage& tensor : damages) {
    const Damage& damage = damage_in(tensor, types);
    sum.smooth += damage.smooth;
    sum.jumps += damage.jumps;
  }
  sum.jumps = std::sqrt(sum.jumps);
  return sum;
}

// The root is concave, so its tangent at a choice bounds it from above: each step of the loop is at least as good as
// the one before, and it ends where none is better.
Types allocate_types(std::span<const TensorDamage> damages, const Types& start, uint64_t budget_bytes) {
  constexpr int kMostSteps = 20;
  Types best;
  double least = INFINITY, jumps = 0;
  for (const TensorDamage& tensor : damages) {
    const auto largest = std::ranges::max_element(tensor.types, {}, &Damage::jumps);
    jumps += largest->jumps;
  }
  jumps = std::sqrt(jumps);
  for (int step = 0; step < kMostSteps; ++step) {
    const double slope = jumps > 0 ? 0.5 / jumps : 0;
    std::vector<Group> groups;
    for (const TensorDamage& tensor : damages) {
      groups.push_back({{tensor.tensor}, {}});
      for (const Damage& damage : tensor.types)
        groups.back().candidates.push_back({damage.type, damage.bytes, damage.smooth + slope * damage.jumps});
    }
    const Allocation allocation = allocate(groups, budget_bytes);
    Types types = start;
    for (size_t g = 0; g < groups.size(); ++g) types[damages[g].tensor] = damages[g].types[allocation.chosen[g]].type;
    const Divergence now = divergence(damages, types);
    if (!(now.sum() < least)) break;
    least = now.sum();
    jumps = now.jumps;
    best = std::move(types);
  }
  return best;
}

}  // namespace steelyard::search
