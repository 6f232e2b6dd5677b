// Splits of layers over devices whose types are still open: compared with all there are.
#include "search/layer_split.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "base/random.h"
#include "search/allocation.h"

namespace steelyard::search {
namespace {

SplitLayer made_up(Random& random, int layer) {
  SplitLayer made{.groups = {}, .fixed_bytes = random.below(50)};
  for (int t = 0; t < 3; ++t) {
    Group group{.tensors = {"t" + std::to_string(layer) + "." + std::to_string(t)}, .candidates = {}};
    uint64_t bytes = 0;
    double loss = 1 + 20 * random.uniform();
    for (int type = 0; type < 4; ++type) {
      bytes += 100 + static_cast<uint64_t>(random.below(100));
      group.candidates.push_back({static_cast<formats::Type>(type), bytes, loss});
      loss *= 0.2 + 0.2 * random.uniform();
    }
    made.groups.push_back(std::move(group));
  }
  return made;
}

// Bytes that are missing to the share, and what is lost; infinite where it does not fit. split_layers() sees the
// relaxed optimum, which lies below what allocate() finds, by less than one step.
std::pair<double, double> cost(std::span<const SplitLayer> layers, uint64_t room, double share) {
  constexpr double kNever = std::numeric_limits<double>::infinity();
  std::vector<Group> groups;
  int64_t left = static_cast<int64_t>(room);
  uint64_t least = 0;
  for (const SplitLayer& layer : layers) {
    left -= layer.fixed_bytes;
    groups.insert(groups.end(), layer.groups.begin(), layer.groups.end());
    for (const Group& group : layer.groups) least += group.candidates.front().bytes;
  }
  if (left < static_cast<int64_t>(least)) return {kNever, kNever};
  const Allocation allocation = allocate(groups, static_cast<uint64_t>(left));
  const double unused = static_cast<double>(left) - static_cast<double>(allocation.bytes);
  const double relaxed = allocation.lambda == 0 ? unused : 0;
  return {std::max(0.0, relaxed - (1 - share) * static_cast<double>(room)), allocation.loss};
}

TEST(LayerSplit, IsAsGoodAsAnySplit) {
  Random random(4);
  int n_found = 0, n_none = 0;
  for (int problem = 0; problem < 120; ++problem) {
    std::vector<SplitLayer> layers;
    for (int i = 0; i < 9; ++i) layers.push_back(made_up(random, i));
    std::vector<uint64_t> room;
    for (int d = 0; d < 3; ++d) room.push_back(900 + static_cast<uint64_t>(random.below(2500)));
    std::pair<double, double> best = {INFINITY, INFINITY};
    const auto of = [&](const std::vector<size_t>& counts) {
      std::pair<double, double> sum = {0, 0};
      size_t begin = 0;
      for (size_t d = 0; d < 3; ++d) {
        const auto [shortfall, loss] = cost(std::span(layers).subspan(begin, counts[d]), room[d], 0.98);
        sum.first += shortfall;
        sum.second += loss;
        begin += counts[d];
      }
      return sum;
    };
    for (size_t a = 0; a <= 9; ++a)
      for (size_t b = 0; a + b <= 9; ++b) best = std::min(best, of({a, b, 9 - a - b}));
    const std::vector<size_t> found = split_layers(layers, room, 0.98);
    EXPECT_EQ(found.empty(), std::isinf(best.second)) << problem;
    if (found.empty()) {
      ++n_none;
      continue;
    }
    ++n_found;
    ASSERT_EQ(found.size(), 3u);
    EXPECT_EQ(std::accumulate(found.begin(), found.end(), size_t{0}), 9u);
    EXPECT_LE(of(found).first, best.first + 1e-6) << problem;
    // The relaxed problem knows no leftovers.
    if (best.first == 0) {
      EXPECT_LE(of(found).second, 1.25 * best.second) << problem;
    }
  }
  EXPECT_GT(n_found, 30);
  EXPECT_GT(n_none, 3);
}

// What a device's next byte saves is alike, so a larger device gets more layers.
TEST(LayerSplit, FollowsTheRoom) {
  std::vector<SplitLayer> layers;
  for (int i = 0; i < 12; ++i) {
    SplitLayer layer;
    layer.groups.push_back({{"t" + std::to_string(i)}, {}});
    for (int type = 0; type < 8; ++type)
      layer.groups[0].candidates.push_back(
          {static_cast<formats::Type>(type), 100u * static_cast<uint64_t>(type + 1), std::exp2(-2 * type)});
    layers.push_back(std::move(layer));
  }
  EXPECT_EQ(split_layers(layers, std::vector<uint64_t>{2000, 2000}, 0.98), (std::vector<size_t>{6, 6}));
  EXPECT_EQ(split_layers(layers, std::vector<uint64_t>{2000, 1000, 3000}, 0.98), (std::vector<size_t>{4, 2, 6}));
  EXPECT_EQ(split_layers(layers, std::vector<uint64_t>{1200}, 0.98), (std::vector<size_t>{12}));
  EXPECT_TRUE(split_layers(layers, std::vector<uint64_t>{1199}, 0.98).empty());
  // Only whole layers.
  EXPECT_TRUE(split_layers(layers, std::vector<uint64_t>{650, 599}, 0.98).empty());
}

}  // namespace
}  // namespace steelyard::search
