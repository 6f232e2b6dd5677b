// Placements: ranges that cover all layers, by proportions and by memory, and what fits.
#include "schedule/placement.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>

#include "base/error.h"
#include "growth.h"

namespace steelyard::schedule {
namespace {

constexpr double kNever = 1e300;

MemoryPlan plan_of(int n_layers, uint64_t each) {
  MemoryPlan plan;
  plan.layers.resize(static_cast<size_t>(n_layers), {each, each / 10});
  plan.embedding = 50;
  plan.output = 60;
  plan.tables = 5;
  plan.activations = 7;
  plan.logits = 3;
  return plan;
}

std::vector<LayerRange> split(int n_layers, std::vector<double> proportions, int64_t on_devices = INT32_MAX) {
  const std::vector<uint64_t> free_bytes(proportions.size(), 0);
  return place_layers(plan_of(n_layers, 100), {free_bytes, std::move(proportions), on_devices}).devices;
}

// The fullest device's share of its room.
double fullness(const MemoryPlan& plan, const std::vector<LayerRange>& ranges,
                const std::vector<uint64_t>& free_bytes) {
  double most = 0;
  for (size_t d = 0; d < free_bytes.size(); ++d) {
    most = std::max(most, static_cast<double>(plan.on_device(ranges[d]).total()) / static_cast<double>(free_bytes[d]));
  }
  return most;
}

// The least fullness there is, by trying every way to cut.
double best_fullness(const MemoryPlan& plan, const std::vector<uint64_t>& free_bytes, std::vector<LayerRange>& ranges) {
  const int begin = ranges.empty() ? 0 : ranges.back().end, n = plan.all().end;
  double best = kNever;
  const bool last = ranges.size() + 1 == free_bytes.size();
  for (int end = last ? n : begin; end <= n; ++end) {
    ranges.push_back({begin, end});
    best = std::min(best, last ? fullness(plan, ranges, free_bytes) : best_fullness(plan, free_bytes, ranges));
    ranges.pop_back();
  }
  return best;
}

TEST(Placement, DevicesNeedWhatTheyHold) {
  MemoryPlan plan = plan_of(4, 100);
  EXPECT_EQ(plan.on_device({0, 4}).weights, 510u);
  EXPECT_EQ(plan.on_device({0, 4}).caches, 40u);
  EXPECT_EQ(plan.on_device({0, 4}).total(), 510u + 40 + 5 + 7 + 3);
  EXPECT_EQ(plan.on_device({0, 2}).total(), 250u + 20 + 5 + 7);
  EXPECT_EQ(plan.on_device({2, 4}).total(), 260u + 20 + 5 + 7 + 3);
  EXPECT_EQ(plan.on_device({2, 2}).total(), 0u);
  plan.tied_output = 50;  // the embedding once more, but not where it is anyway
  EXPECT_EQ(plan.on_device({0, 4}).weights, 510u);
  EXPECT_EQ(plan.on_device({2, 4}).weights, 310u);
}

TEST(Placement, Proportions) {
  EXPECT_EQ(split(10, {1}), (std::vector<LayerRange>{{0, 10}}));
  EXPECT_EQ(split(10, {1, 1}), (std::vector<LayerRange>{{0, 5}, {5, 10}}));
  EXPECT_EQ(split(10, {3, 1, 1}), (std::vector<LayerRange>{{0, 6}, {6, 8}, {8, 10}}));
  EXPECT_EQ(split(10, {0, 1, 0}), (std::vector<LayerRange>{{0, 0}, {0, 10}, {10, 10}}));
  EXPECT_EQ(split(2, {1, 1, 1, 1}), (std::vector<LayerRange>{{0, 1}, {1, 1}, {1, 2}, {2, 2}}));
  EXPECT_EQ(split(10, {1, 1}, 4), (std::vector<LayerRange>{{6, 8}, {8, 10}}));
  // Proportions that are numbers of layers are met exactly.
  EXPECT_EQ(split(47, {8, 8, 8, 8, 8, 7}),
            (std::vector<LayerRange>{{0, 8}, {8, 16}, {16, 24}, {24, 32}, {32, 40}, {40, 47}}));
  EXPECT_EQ(split(10, {1e308, 1e308}), (std::vector<LayerRange>{{0, 5}, {5, 10}}));
  for (const std::vector<double>& bad : {std::vector<double>{0, 0}, {1, -1}, {1, NAN}, {1, INFINITY}}) {
    EXPECT_THROW(split(10, bad), Error);
  }
  EXPECT_THROW(place_layers(plan_of(4, 1), {{1, 1, 1}, {1, 1}}), Error);
}

TEST(Placement, ByMemoryLeavesTheFullestDeviceLeastFull) {
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    MemoryPlan plan = plan_of(1 + static_cast<int>(random() % 7), 0);
    for (LayerMemory& layer : plan.layers) layer = {random() % 500, random() % 100};
    std::vector<uint64_t> free_bytes(1 + random() % 4);
    for (uint64_t& bytes : free_bytes) bytes = 1 + random() % 1000;
    const Placement placement = place_layers(plan, {free_bytes});
    ASSERT_EQ(placement.devices.size(), free_bytes.size());
    int at = 0;
    for (const LayerRange& range : placement.devices) {
      EXPECT_EQ(range.begin, at);
      at = range.end;
    }
    EXPECT_EQ(at, plan.all().end);
    std::vector<LayerRange> none;
    const double best = best_fullness(plan, free_bytes, none);
    EXPECT_DOUBLE_EQ(fullness(plan, placement.devices, free_bytes), best);
    EXPECT_EQ(fits(plan, placement, free_bytes), best <= 1);
  }
}

TEST(Placement, PartOfTheLayers) {
  const MemoryPlan plan = plan_of(10, 100);  // a layer needs 110
  const std::vector<uint64_t> free_bytes = {410, 410};
  EXPECT_EQ(most_layers(plan, {free_bytes}), 6);
  const Placement placement = place_layers(plan, {free_bytes, {}, 6});
  EXPECT_EQ(placement.host, (LayerRange{0, 4}));
  EXPECT_EQ(placement.devices, (std::vector<LayerRange>{{4, 7}, {7, 10}}));
  EXPECT_TRUE(fits(plan, placement, free_bytes));
  EXPECT_FALSE(fits(plan, place_layers(plan, {free_bytes, {}, 7}), free_bytes));
  EXPECT_EQ(most_layers(plan, {{10, 10}}), 0);
  EXPECT_EQ(most_layers(plan, {{10000, 0}}), 10);
  EXPECT_EQ(place_layers(plan, {free_bytes, {}, 0}).host, plan.all());
}

// Layers on devices are the same whatever the search is: of equal placements the one whose ranges begin first, from the
// last device to the first.
TEST(Placement, OfEqualPlacementsTheFirst) {
  std::mt19937 random(2);
  for (int round = 0; round < 200; ++round) {
    MemoryPlan plan = plan_of(1 + static_cast<int>(random() % 12), 0);
    for (LayerMemory& layer : plan.layers) layer = {100 * (random() % 3), 0};
    const std::vector<uint64_t> free_bytes(1 + random() % 3, 100);
    const int n = plan.all().end;
    // least[d][end] and where the last range begins, by trying every beginning in order.
    std::vector<std::vector<double>> least(free_bytes.size() + 1,
                                           std::vector<double>(static_cast<size_t>(n) + 1, kNever));
    std::vector<std::vector<int>> begin(free_bytes.size() + 1, std::vector<int>(static_cast<size_t>(n) + 1));
    least[0][0] = 0;
    for (size_t d = 0; d < free_bytes.size(); ++d) {
      for (int end = 0; end <= n; ++end) {
        for (int b = 0; b <= end; ++b) {
          const double full =
              static_cast<double>(plan.on_device({b, end}).total()) / static_cast<double>(free_bytes[d]);
          const double most = std::max(least[d][static_cast<size_t>(b)], full);
          if (most >= least[d + 1][static_cast<size_t>(end)]) continue;
          least[d + 1][static_cast<size_t>(end)] = most;
          begin[d + 1][static_cast<size_t>(end)] = b;
        }
      }
    }
    std::vector<LayerRange> expected(free_bytes.size());
    for (size_t d = free_bytes.size(); d > 0; --d) {
      const int end = d == free_bytes.size() ? n : expected[d].begin;
      expected[d - 1] = {begin[d][static_cast<size_t>(end)], end};
    }
    EXPECT_EQ(place_layers(plan, {free_bytes}).devices, expected);
  }
}

TEST(Placement, MostLayersByMemoryAreTheMostThatFit) {
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    MemoryPlan plan = plan_of(1 + static_cast<int>(random() % 12), 0);
    for (LayerMemory& layer : plan.layers) layer = {random() % 500, random() % 100};
    std::vector<uint64_t> free_bytes(1 + random() % 3);
    for (uint64_t& bytes : free_bytes) bytes = 1 + random() % 2000;
    int64_t most = plan.all().end;
    while (most > 0 && !fits(plan, place_layers(plan, {free_bytes, {}, most}), free_bytes)) --most;
    EXPECT_EQ(most_layers(plan, {free_bytes}), most);
  }
}

TEST(Placement, TimeGrowsWithTheLayers) {
  const std::vector<uint64_t> free_bytes(4, 100'000);
  const auto work = [&](const MemoryPlan& plan) {
    place_layers(plan, {free_bytes});
    most_layers(plan, {free_bytes});
  };
  EXPECT_LT(test::growth(
                500, [](size_t n) { return plan_of(static_cast<int>(n), 100); }, work),
            test::kAboutLinear);
}

}  // namespace
}  // namespace steelyard::schedule
