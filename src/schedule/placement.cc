#include "schedule/placement.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/error.h"

namespace steelyard::schedule {
namespace {

std::vector<LayerRange> by_proportions(LayerRange layers, std::span<const double> proportions) {
  double sum = std::accumulate(proportions.begin(), proportions.end(), 0.0);
  // Numbers so large that their sum is none are taken as parts of the largest.
  const double unit = std::isfinite(sum) ? 1 : std::ranges::max(proportions);
  if (unit != 1) {
    sum = 0;
    for (const double proportion : proportions) sum += proportion / unit;
  }
  std::vector<LayerRange> ranges;
  double before = 0;
  int begin = layers.begin;
  for (const double proportion : proportions) {
    before += proportion / unit;
    const int end = layers.begin + static_cast<int>(std::lround(layers.size() * before / sum));
    ranges.push_back({begin, end});
    begin = end;
  }
  return ranges;
}

// The first of [begin, end) for which `holds`, which holds for all after it; `end` where none does.
template <typename Holds>
size_t first_of(size_t begin, size_t end, const Holds& holds) {
  while (begin < end) {
    const size_t middle = begin + (end - begin) / 2;
    if (holds(middle))
      end = middle;
    else
      begin = middle + 1;
  }
  return begin;
}

// Chooses the ranges whose fullest device is least full. least[d][n]: how full the fullest of the first d devices is
// when they hold the first n layers. It grows with n, and a device is the fuller the earlier its range begins. So where
// the two meet is found by bisection, and the time grows no faster than layers times their logarithm.
std::vector<LayerRange> by_memory(const MemoryPlan& plan, LayerRange layers, std::span<const uint64_t> free_bytes) {
  const auto n_layers = static_cast<size_t>(layers.size()), n_devices = free_bytes.size();
  std::vector<uint64_t> before(n_layers + 1);  // bytes of the layers in front
  for (size_t i = 0; i < n_layers; ++i) {
    const LayerMemory& layer = plan.layers[static_cast<size_t>(layers.begin) + i];
    before[i + 1] = before[i] + layer.weights + layer.cache;
  }
  const auto fullness = [&](size_t device, size_t begin, size_t end) {
    const LayerRange range{layers.begin + static_cast<int>(begin), layers.begin + static_cast<int>(end)};
    const double free = std::max(static_cast<double>(free_bytes[device]), 1.0);
    return static_cast<double>(plan.beside_layers(range).total() + before[end] - before[begin]) / free;
  };
  constexpr double kNever = std::numeric_limits<double>::infinity();
  std::vector<std::vector<double>> least(n_devices + 1, std::vector<double>(n_layers + 1, kNever));
  std::vector<std::vector<size_t>> begin(n_devices + 1, std::vector<size_t>(n_layers + 1, 0));
  least[0][0] = 0;
  for (size_t d = 0; d < n_devices; ++d) {
    for (size_t end = 0; end <= n_layers; ++end) {
      const auto full = [&](size_t b) { return fullness(d, b, end); };
      const size_t meet = first_of(0, end, [&](size_t b) { return least[d][b] >= full(b); });
      const double most = std::min(std::max(least[d][meet], full(meet)), meet > 0 ? full(meet - 1) : kNever);
      least[d + 1][end] = most;
      begin[d + 1][end] = first_of(0, meet, [&](size_t b) { return full(b) <= most; });
    }
  }
  std::vector<LayerRange> ranges(n_devices);
  for (size_t d = n_devices, end = n_layers; d > 0; --d) {
    const size_t b = begin[d][end];
    ranges[d - 1] = {layers.begin + static_cast<int>(b), layers.begin + static_cast<int>(end)};
    end = b;
  }
  return ranges;
}

}  // namespace

Placement place_layers(const MemoryPlan& plan, const PlacementRequest& request) {
  const auto n_on_devices = static_cast<int>(std::clamp<int64_t>(request.n_layers, 0, plan.all().end));
  Placement placement;
  placement.host = {0, plan.all().end - n_on_devices};
  const LayerRange rest{placement.host.end, plan.all().end};
  if (request.proportions.empty()) {
    placement.devices = by_memory(plan, rest, request.free_bytes);
    return placement;
  }
  const std::vector<double>& proportions = request.proportions;
  const auto valid = [](double proportion) { return proportion >= 0 && std::isfinite(proportion); };
  const bool all_zero = std::ranges::all_of(proportions, [](double proportion) { return proportion == 0; });
  if (proportions.size() != request.free_bytes.size() || !std::ranges::all_of(proportions, valid) || all_zero) {
    fail("", "the split of layers has {} parts, expected a number of 0 or more for each of {} devices, not all 0",
         proportions.size(), request.free_bytes.size());
  }
  placement.devices = by_proportions(rest, proportions);
  return placement;
}

bool fits(const MemoryPlan& plan, const Placement& placement, std::span<const uint64_t> free_bytes) {
  for (size_t d = 0; d < free_bytes.size(); ++d) {
    if (plan.on_device(placement.devices[d]).total() > free_bytes[d]) return false;
  }
  return true;
}

int64_t most_layers(const MemoryPlan& plan, PlacementRequest request) {
  const auto does_fit = [&](int64_t n_layers) {
    request.n_layers = n_layers;
    return fits(plan, place_layers(plan, request), request.free_bytes);
  };
  int64_t most = std::clamp<int64_t>(request.n_layers, 0, plan.all().end);
  if (request.proportions.empty()) {  // with fewer layers no device is fuller
    const auto fewer = [&](size_t n) { return does_fit(most - static_cast<int64_t>(n)); };
    return most - static_cast<int64_t>(first_of(0, static_cast<size_t>(most), fewer));
  }
  while (most > 0 && !does_fit(most)) --most;
  return most;
}

}  // namespace steelyard::schedule
