#include "search/layer_split.h"

#include <algorithm>
#include <limits>
#include <map>
#include <optional>
#include <tuple>

#include "search/hull.h"

namespace steelyard::search {
namespace {

// How good consecutive layers on a device are; less is better.
struct Cost {
  double shortfall = std::numeric_limits<double>::infinity();  // bytes
  double loss = std::numeric_limits<double>::infinity();

  bool operator<(const Cost& other) const { return std::tie(shortfall, loss) < std::tie(other.shortfall, other.loss); }
  Cost operator+(const Cost& other) const { return {shortfall + other.shortfall, loss + other.loss}; }
};

// A layer in its smallest types, and the steps from there, the steepest first.
struct RelaxedLayer {
  int64_t bytes = 0;
  double loss = 0;
  std::vector<HullStep> steps;
};

bool is_steeper(const HullStep& a, const HullStep& b) { return a.slope > b.slope; }

RelaxedLayer relax(const SplitLayer& layer) {
  RelaxedLayer relaxed{.bytes = layer.fixed_bytes};
  for (const Group& group : layer.groups) {
    std::vector<HullPoint> points;
    for (const size_t i : undominated(group.candidates))
      points.push_back({static_cast<int64_t>(group.candidates[i].bytes), group.candidates[i].loss});
    relaxed.bytes += points.front().bytes;
    relaxed.loss += points.front().loss;
    const std::vector<HullStep> steps = hull_steps(points);
    relaxed.steps.insert(relaxed.steps.end(), steps.begin(), steps.end());
  }
  std::stable_sort(relaxed.steps.begin(), relaxed.steps.end(), is_steeper);
  return relaxed;
}

Cost cost(const RelaxedLayer& layers, int64_t room, double share) {
  int64_t left = room - layers.bytes;
  if (left < 0) return {};
  double loss = layers.loss;
  for (const HullStep& step : layers.steps) {
    const int64_t bytes = std::min(left, step.bytes);
    loss -= step.slope * static_cast<double>(bytes);
    left -= bytes;
    if (left == 0) break;
  }
  return {std::max(0.0, static_cast<double>(left) - (1 - share) * static_cast<double>(room)), loss};
}

}  // namespace

std::vector<size_t> split_layers(std::span<const SplitLayer> layers, std::span<const uint64_t> room, double share) {
  const size_t n_layers = layers.size(), n_devices = room.size();
  std::vector<RelaxedLayer> relaxed;
  for (const SplitLayer& layer : layers) relaxed.push_back(relax(layer));
  // [begin][end], for each size of a device.
  std::map<uint64_t, std::vector<std::vector<Cost>>> costs;
  for (const uint64_t bytes : room) {
    costs[bytes].assign(n_layers + 1, std::vector<Cost>(n_layers + 1));
    costs[bytes][n_layers][n_layers] = cost({}, static_cast<int64_t>(bytes), share);
  }
  for (size_t begin = 0; begin < n_layers; ++begin) {
    RelaxedLayer range;
    for (auto& [bytes, table] : costs) table[begin][begin] = cost({}, static_cast<int64_t>(bytes), share);
    for (size_t end = begin + 1; end <= n_layers; ++end) {
      const RelaxedLayer& next = relaxed[end - 1];
      range.bytes += next.bytes;
      range.loss += next.loss;
      const auto middle = static_cast<std::ptrdiff_t>(range.steps.size());
      range.steps.insert(range.steps.end(), next.steps.begin(), next.steps.end());
      std::inplace_merge(range.steps.begin(), range.steps.begin() + middle, range.steps.end(), is_steeper);
      for (auto& [bytes, table] : costs) table[begin][end] = cost(range, static_cast<int64_t>(bytes), share);
    }
  }
  std::vector<std::vector<Cost>> least(n_devices + 1, std::vector<Cost>(n_layers + 1));
  std::vector<std::vector<size_t>> begins(n_devices + 1, std::vector<size_t>(n_layers + 1, 0));
  least[0][0] = {0, 0};
  for (size_t d = 0; d < n_devices; ++d) {
    const std::vector<std::vector<Cost>>& table = costs.at(room[d]);
    for (size_t end = 0; end <= n_layers; ++end) {
      for (size_t begin = 0; begin <= end; ++begin) {
        const Cost sum = least[d][begin] + table[begin][end];
        if (!(sum < least[d + 1][end])) continue;
        least[d + 1][end] = sum;
        begins[d + 1][end] = begin;
      }
    }
  }
  if (!(least[n_devices][n_layers] < Cost())) return {};
  std::vector<size_t> counts(n_devices);
  for (size_t d = n_devices, end = n_layers; d > 0; --d) {
    counts[d - 1] = end - begins[d][end];
    end = begins[d][end];
  }
  return counts;
}

}  // namespace steelyard::search
