#include "calibrate/rounding_lanes.h"

#include <algorithm>
#include <cmath>

namespace steelyard::calibrate {

int most_lanes(int n_threads, int n_devices) { return std::max(n_threads, n_devices + 1); }

// Devices come first. The processor has the rest of its threads, and at least one worker where memory allows.
RoundingLanes plan_lanes(int n_threads, int n_devices, int64_t most, double n_equal, double on_device) {
  constexpr double kUnknown = 0.5;
  const int64_t n = std::clamp<int64_t>(most, 1, most_lanes(n_threads, n_devices));
  RoundingLanes lanes;
  if (n_devices > 0) {
    const double wanted = std::ceil(1.0 / std::clamp(on_device > 0.0 ? on_device : kUnknown, 0.01, 1.0));
    const int64_t room = std::max<int64_t>((n - 1) / n_devices, 1);
    lanes.on_devices = static_cast<int>(std::min(n, n_devices * std::min(static_cast<int64_t>(wanted), room)));
  }
  const int threads_left = lanes.on_devices > 0 ? std::max(n_threads - lanes.on_devices, 1) : n_threads;
  const auto equal = static_cast<int>(std::clamp(n_equal, 1.0, static_cast<double>(threads_left)));
  lanes.on_processor = static_cast<int>(std::min<int64_t>(n - lanes.on_devices, equal));
  lanes.threads_of_each = std::max(1, n_threads / (lanes.on_devices + lanes.on_processor));
  return lanes;
}

}  // namespace steelyard::calibrate
