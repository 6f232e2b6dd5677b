// What is worth choosing where a part of one thing and a part of another would do: the relaxed problem. allocate()
// begins with it, and split_layers() compares splits by it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace steelyard::search {

/// A step from one choice to a larger one.
struct HullStep {
  size_t to = 0;      ///< position in what was given
  int64_t bytes = 0;  ///< more than before, above 0
  double slope = 0;   ///< loss saved per byte, in nats per byte
};

struct HullPoint {
  int64_t bytes = 0;
  double loss = 0;  ///< nats per position
};

/// The steps from the first point along the lower convex hull, each slope at most that of the step before. The points
/// have ascending bytes and falling losses.
std::vector<HullStep> hull_steps(std::span<const HullPoint> points);

}  // namespace steelyard::search
