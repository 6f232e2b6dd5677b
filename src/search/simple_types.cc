#include "search/simple_types.h"

#include "search/allocation.h"
#include "search/simplify.h"

namespace steelyard::search {

Types simple_types(std::span<const gguf::TensorInfo> tensors, std::span<const TensorDamage> damages,
                   std::span<const std::vector<std::string>> ties, const Types& best, uint64_t budget_bytes,
                   size_t max_rules) {
  // A simpler choice has other jumps, and so another tangent. More than two are no better.
  constexpr int kMostSteps = 2;
  return follow_tangents(damages, ties, divergence(damages, best).jumps, kMostSteps,
                         [&](std::span<const Group> groups) {
                           const Allocation start = allocate(groups, budget_bytes);
                           return types_of(groups, simplify(tensors, groups, start, budget_bytes, max_rules).chosen);
                         });
}

}  // namespace steelyard::search
