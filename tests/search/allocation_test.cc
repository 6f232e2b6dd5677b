#include "search/allocation.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

#include "base/random.h"
#include "error_of.h"

namespace steelyard::search {
namespace {

using formats::Type;

// A made-up group: sizes that do not divide each other, losses that fall with the size but not on a convex curve.
Group random_group(Random& random, size_t index, size_t n_candidates) {
  Group group{.tensors = {"blk." + std::to_string(index) + ".weight"}};
  const double weights = std::exp(4 * random.uniform()) * 1e4;
  const double sensitivity = std::exp(6 * random.uniform()) * 1e-4;
  for (size_t k = 0; k < n_candidates; ++k) {
    const double bits = 1.5 + 7 * random.uniform();
    group.candidates.push_back({static_cast<Type>(k), static_cast<uint64_t>(weights * bits / 8),
                                sensitivity * std::exp2(-2 * bits) * (0.5 + random.uniform())});
  }
  return group;
}

std::vector<Group> random_groups(Random& random, size_t n, size_t n_candidates) {
  std::vector<Group> groups;
  for (size_t i = 0; i < n; ++i) groups.push_back(random_group(random, i, n_candidates));
  return groups;
}

std::pair<uint64_t, uint64_t> range(const std::vector<Group>& groups) {
  uint64_t least = 0, most = 0;
  for (const Group& group : groups) {
    const std::vector<size_t> kept = undominated(group.candidates);
    least += group.candidates[kept.front()].bytes;
    most += group.candidates[kept.back()].bytes;
  }
  return {least, most};
}

// The least loss of all combinations that fit.
double brute_force(const std::vector<Group>& groups, uint64_t budget, size_t from = 0) {
  if (from == groups.size()) return 0;
  double best = std::numeric_limits<double>::infinity();
  for (const Candidate& candidate : groups[from].candidates) {
    if (candidate.bytes > budget) continue;
    best = std::min(best, candidate.loss + brute_force(groups, budget - candidate.bytes, from + 1));
  }
  return best;
}

TEST(Sensitivity, UndominatedCandidatesAreSortedAndEachGains) {
  const std::vector<Candidate> candidates = {{Type::Q8_0, 80, 0.1},
                                             {Type::Q4_K, 40, 0.5},
                                             {Type::Q4_0, 40, 0.6},
                                             {Type::Q5_K, 50, 0.5},
                                             {Type::Q4_1, 40, 0.5}};
  // Q4_1 ties with Q4_K and has the lower number; Q5_K is larger and no better.
  EXPECT_EQ(undominated(candidates), (std::vector<size_t>{4, 0}));
  EXPECT_TRUE(undominated({}).empty());
}

TEST(Allocation, EqualsBruteForceOnSmallProblems) {
  Random random(1);
  for (int problem = 0; problem < 300; ++problem) {
    const std::vector<Group> groups =
        random_groups(random, 1 + static_cast<size_t>(random.below(7)), 1 + static_cast<size_t>(random.below(7)));
    const auto [least, most] = range(groups);
    const uint64_t budget = least + static_cast<uint64_t>(random.below(static_cast<int64_t>(most - least) + 2));
    const Allocation allocation = allocate(groups, budget);
    const double optimum = brute_force(groups, budget);
    EXPECT_LE(allocation.bytes, budget);
    EXPECT_NEAR(allocation.loss, optimum, 1e-9 * optimum) << "problem " << problem;
    const Allocation weighed = weigh(groups, allocation.chosen, allocation.lambda);
    EXPECT_EQ(weighed.bytes, allocation.bytes);
    EXPECT_EQ(weighed.loss, allocation.loss);
  }
}

TEST(Allocation, DoesNotDependOnTheOrderOfGroups) {
  Random random(2);
  for (int problem = 0; problem < 30; ++problem) {
    std::vector<Group> groups = random_groups(random, 40, 8);
    // Equal groups: only names tell them apart.
    for (size_t i = 20; i < 40; ++i) groups[i].candidates = groups[20].candidates;
    const auto [least, most] = range(groups);
    const uint64_t budget = least + static_cast<uint64_t>(random.below(static_cast<int64_t>(most - least)));
    const Allocation first = allocate(groups, budget);
    std::vector<Group> shuffled;
    std::vector<size_t> places;
    for (size_t i = 0; i < groups.size(); ++i) places.push_back(i * 17 % groups.size());
    for (const size_t place : places) shuffled.push_back(groups[place]);
    const Allocation second = allocate(shuffled, budget);
    for (size_t i = 0; i < places.size(); ++i) EXPECT_EQ(second.chosen[i], first.chosen[places[i]]);
    EXPECT_EQ(first.loss, second.loss);
    EXPECT_EQ(first.bytes, second.bytes);
    EXPECT_EQ(first.lambda, second.lambda);
  }
}

TEST(Allocation, LargeProblemsAreQuickFullAndCloseToTheRelaxedOptimum) {
  Random random(3);
  const std::vector<Group> groups = random_groups(random, 1100, 25);
  const auto [least, most] = range(groups);
  double slowest = 0;
  for (int i = 0; i < 12; ++i) {
    const uint64_t budget = least + static_cast<uint64_t>(random.uniform() * static_cast<double>(most - least));
    const auto begin = std::chrono::steady_clock::now();
    const Allocation allocation = allocate(groups, budget);
    slowest = std::max(slowest, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    EXPECT_LE(allocation.bytes, budget);
    EXPECT_GE(static_cast<double>(allocation.bytes), 0.9999 * static_cast<double>(budget));
    // Weak duality: no choice within the budget loses less than this.
    double bound = -allocation.lambda * static_cast<double>(budget);
    for (const Group& group : groups) {
      double best = std::numeric_limits<double>::infinity();
      for (const Candidate& c : group.candidates) {
        best = std::min(best, c.loss + allocation.lambda * static_cast<double>(c.bytes));
      }
      bound += best;
    }
    EXPECT_GE(allocation.loss, bound * (1 - 1e-9));
    EXPECT_LE(allocation.loss, bound * 1.0001);
  }
  RecordProperty("slowest_ms", static_cast<int>(slowest * 1e3));
  EXPECT_LT(slowest, 10) << "a tenth of this is usual";
}

TEST(Allocation, NobodyGetsMoreBytesForNothing) {
  const std::vector<Group> groups = {{{"a"}, {{Type::Q4_0, 100, 0.5}, {Type::Q5_0, 120, 0.5}, {Type::Q8_0, 200, 0.6}}},
                                     {{"b"}, {{Type::Q4_0, 100, 0.5}, {Type::Q8_0, 200, 0.1}}}};
  const Allocation allocation = allocate(groups, 1000);
  EXPECT_EQ(allocation.chosen, (std::vector<size_t>{0, 1}));
  EXPECT_EQ(allocation.bytes, 300u);
  EXPECT_DOUBLE_EQ(allocation.loss, 0.6);
  EXPECT_EQ(allocation.lambda, 0);
  // What one more byte would save: 0.4 for 100.
  EXPECT_DOUBLE_EQ(allocate(groups, 250).lambda, 0.004);
}

TEST(Allocation, ABudgetIsKeptToTheByte) {
  const std::vector<Group> groups = {{{"a"}, {{Type::Q4_0, 100, 0.5}, {Type::Q8_0, 201, 0.1}}},
                                     {{"b"}, {{Type::Q4_0, 100, 0.5}, {Type::Q8_0, 200, 0.2}}}};
  EXPECT_EQ(allocate(groups, 300).chosen, (std::vector<size_t>{0, 1}));
  EXPECT_EQ(allocate(groups, 301).chosen, (std::vector<size_t>{1, 0}));
  EXPECT_EQ(allocate(groups, 200).bytes, 200u);
  EXPECT_EQ(test::error_of([&] { allocate(groups, 199); }),
            "199 bytes are too few: these types need at least 200 bytes");
  EXPECT_EQ(allocate({}, 0).bytes, 0u);
  EXPECT_EQ(allocate(groups, std::numeric_limits<uint64_t>::max()).bytes, 401u);
}

TEST(Allocation, SizesBeyond63BitsAreRefused) {
  const std::vector<Group> groups(2, {{"a"}, {{Type::Q4_0, uint64_t{1} << 62, 0.5}}});
  EXPECT_THAT(test::error_of([&] { allocate(groups, uint64_t{1} << 63); }), testing::HasSubstr("63 bits"));
}

}  // namespace
}  // namespace steelyard::search
