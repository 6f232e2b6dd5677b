#include "search/hull.h"

#include <algorithm>

namespace steelyard::search {

std::vector<HullStep> hull_steps(std::span<const HullPoint> points) {
  std::vector<HullStep> steps;
  for (size_t from = 0; from + 1 < points.size(); from = steps.back().to) {
    HullStep best{.to = from, .slope = -1};
    for (size_t to = from + 1; to < points.size(); ++to) {
      const int64_t bytes = points[to].bytes - points[from].bytes;
      const double slope = (points[from].loss - points[to].loss) / static_cast<double>(bytes);
      if (slope >= best.slope) best = {to, bytes, slope};
    }
    // Rounding must not put a step before the one that it goes on from.
    if (!steps.empty()) best.slope = std::min(best.slope, steps.back().slope);
    steps.push_back(best);
  }
  return steps;
}

}  // namespace steelyard::search
