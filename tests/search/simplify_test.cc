#include "search/simplify.h"

#include <gmock/gmock.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <optional>

#include "error_of.h"
#include "plan/resolve.h"
#include "search/models.h"

namespace steelyard::search {
namespace {

uint64_t budget_between(const std::vector<Group>& groups, double part) {
  const auto [least, most] = range(groups);
  return least + static_cast<uint64_t>(part * static_cast<double>(most - least));
}

// What the quantizable tensors take under the plan that is written for this choice.
uint64_t bytes_under_plan(const Tensors& tensors, const std::vector<Group>& groups, const Allocation& allocation) {
  const std::string text = plan_text(tensors, types_of(groups, allocation.chosen));
  uint64_t bytes = 0;
  for (const plan::Decision& d : plan::resolve(plan::Plan::parse(text, "text"), tensors).decisions) {
    if (d.reason != plan::Reason::kProtected) bytes += d.bytes;
  }
  return bytes;
}

TEST(Search, FortySizesOfRealHeadersAreKeptAndUsed) {
  const std::vector<std::string> paths = real_headers();
  if (paths.empty()) GTEST_SKIP() << test::shared("skeletons") << " is absent";
  double slowest = 0, sum = 0;
  for (const std::string& path : paths) {
    SCOPED_TRACE(path);
    const Tensors tensors = read_tensors(path);
    const std::vector<Group> groups = made_up_groups(tensors, 6);
    Random random(7);
    for (int i = 0; i < 40; ++i) {
      const uint64_t budget = budget_between(groups, random.uniform());
      const auto begin = std::chrono::steady_clock::now();
      const Allocation allocation = allocate(groups, budget);
      slowest = std::max(slowest, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
      sum += std::log(allocation.loss);
      EXPECT_LE(allocation.bytes, budget);
      EXPECT_GE(static_cast<double>(allocation.bytes), 0.995 * static_cast<double>(budget));
      if (i % 10 == 0) {
        EXPECT_EQ(bytes_under_plan(tensors, groups, allocation), allocation.bytes);
      }
    }
  }
  if (std::getenv("STEELYARD_VERBOSE") != nullptr)
    std::printf("slowest allocation: %.3f s; sum of logarithms %.9f\n", slowest, sum);
  RecordProperty("slowest_ms", static_cast<int>(slowest * 1e3));
}

// The least loss of one type for all that fits the budget, if any does.
std::optional<double> least_uniform_loss(const std::vector<Group>& groups, uint64_t budget) {
  std::optional<double> least;
  for (const formats::Format* format : targets()) {
    Allocation uniform;
    size_t n = 0;
    for (const Group& group : groups) {
      for (const Candidate& candidate : group.candidates) {
        if (candidate.type != format->type) continue;
        uniform.bytes += candidate.bytes;
        uniform.loss += candidate.loss;
        ++n;
      }
    }
    if (n == groups.size() && uniform.bytes <= budget) least = std::min(least.value_or(1e300), uniform.loss);
  }
  return least;
}

// A plan of so many rules is found where one type for all fits; it may be elsewhere.
void expect_simpler(const std::string& path, const std::vector<double>& parts, const std::vector<size_t>& limits) {
  SCOPED_TRACE(path);
  const Tensors tensors = read_tensors(path);
  const std::vector<Group> groups = made_up_groups(tensors, 8);
  for (const double part : parts) {
    const uint64_t budget = budget_between(groups, part);
    const Allocation best = allocate(groups, budget);
    for (const size_t limit : limits) {
      SCOPED_TRACE(testing::Message() << part << " of the range, " << limit << " rules");
      Allocation simple;
      const std::string error = test::error_of([&] { simple = simplify(tensors, groups, best, budget, limit); });
      if (!error.empty()) {
        EXPECT_LE(limit, 3u) << error;
        EXPECT_FALSE(least_uniform_loss(groups, budget).has_value()) << error;
        continue;
      }
      const std::string text = plan_text(tensors, types_of(groups, simple.chosen));
      EXPECT_LE(plan::Plan::parse(text, "text").rules().size() + 1, limit);
      EXPECT_LE(simple.bytes, budget);
      EXPECT_GE(simple.loss, best.loss * (1 - 1e-9));
      EXPECT_EQ(bytes_under_plan(tensors, groups, simple), simple.bytes);
      if (std::getenv("STEELYARD_VERBOSE") != nullptr) {
        std::printf("%s part %.2f limit %zu: rules %zu, loss %.4g of best %.4g, used %.4f of the budget\n",
                    path.c_str(), part, limit, plan::Plan::parse(text, "t").rules().size() + 1, simple.loss, best.loss,
                    static_cast<double>(simple.bytes) / static_cast<double>(budget));
      }
    }
  }
}

TEST(Simplify, FewerRulesOnGoldenModels) {
  for (const std::string& path : golden_models()) expect_simpler(path, {0.3, 0.7}, {1000, 8, 4, 3});
}

// One rule is one type for all: the best of those that fit, if there is one.
TEST(Simplify, OneRuleIsTheBestTypeForAll) {
  size_t n_found = 0;
  for (const std::string& path : golden_models()) {
    SCOPED_TRACE(path);
    const Tensors tensors = read_tensors(path);
    const std::vector<Group> groups = made_up_groups(tensors, 8);
    for (const double part : {0.1, 0.5, 0.9}) {
      const uint64_t budget = budget_between(groups, part);
      const std::optional<double> least = least_uniform_loss(groups, budget);
      Allocation simple;
      const std::string error =
          test::error_of([&] { simple = simplify(tensors, groups, allocate(groups, budget), budget, 1); });
      EXPECT_EQ(error.empty(), least.has_value()) << error;
      if (!least || !error.empty()) continue;
      EXPECT_NEAR(simple.loss, *least, 1e-9 * *least);
      ++n_found;
    }
  }
  EXPECT_GE(n_found, 5u);
}

TEST(Simplify, FewerRulesOnRealHeaders) {
  const std::vector<std::string> paths = real_headers();
  if (paths.empty()) GTEST_SKIP() << test::shared("skeletons") << " is absent";
  for (const std::string& path : paths) expect_simpler(path, {0.2}, {24, 12});
}

TEST(Simplify, APlanThatIsSimpleStaysAsItIs) {
  const Tensors tensors = read_tensors(test::golden("models/qwen3/model.gguf"));
  const std::vector<Group> groups = made_up_groups(tensors, 9);
  const uint64_t budget = budget_between(groups, 0.5);
  const Allocation best = allocate(groups, budget);
  const size_t n_rules = count_rules(tensors, types_of(groups, best.chosen));
  EXPECT_EQ(simplify(tensors, groups, best, budget, n_rules).chosen, best.chosen);
}

TEST(Simplify, WhatCannotBeIsRefused) {
  const Tensors tensors = read_tensors(test::golden("models/qwen3/model.gguf"));
  const std::vector<Group> groups = made_up_groups(tensors, 9);
  const auto [least, most] = range(groups);
  const Allocation best = allocate(groups, least);
  EXPECT_THAT(test::error_of([&] { simplify(tensors, groups, best, least, 0); }), testing::HasSubstr("at least one"));
  // Two groups without a type in common.
  std::vector<Group> strange = groups;
  for (size_t i = 0; i < strange.size(); ++i) strange[i].candidates.resize(1);
  strange[0].candidates[0].type = formats::Type::Q8_0;
  strange[1].candidates[0].type = formats::Type::Q4_0;
  const Allocation only = weigh(strange, std::vector<size_t>(strange.size(), 0), 0);
  EXPECT_THAT(test::error_of([&] { simplify(tensors, strange, only, only.bytes, 1); }),
              testing::HasSubstr("no plan of at most 1 rules"));
}

TEST(Simplify, TiedTensorsStayTied) {
  const Tensors tensors = read_tensors(test::golden("models/qwen3/model.gguf"));
  // Gate and up of each layer are one group.
  std::vector<Group> groups;
  std::map<std::string, size_t> gates;
  for (Group& group : made_up_groups(tensors, 10)) {
    const std::string name = group.tensors[0];
    const size_t at = name.find(".ffn_");
    const bool is_tied = name.ends_with("ffn_gate.weight") || name.ends_with("ffn_up.weight");
    const auto [first, is_new] = gates.try_emplace(is_tied ? name.substr(0, at) : name, groups.size());
    if (is_new) {
      groups.push_back(std::move(group));
      continue;
    }
    Group& tied = groups[first->second];
    tied.tensors.push_back(name);
    ASSERT_EQ(tied.candidates.size(), group.candidates.size());
    for (size_t i = 0; i < tied.candidates.size(); ++i) {
      tied.candidates[i].bytes += group.candidates[i].bytes;
      tied.candidates[i].loss += group.candidates[i].loss;
    }
  }
  const uint64_t budget = budget_between(groups, 0.4);
  const Allocation best = allocate(groups, budget);
  for (const size_t limit : {6, 3, 2}) {
    const Allocation simple = simplify(tensors, groups, best, budget, limit);
    EXPECT_LE(simple.bytes, budget);
    EXPECT_EQ(bytes_under_plan(tensors, groups, simple), simple.bytes);
  }
  double sum = 0;
  for (const auto& [name, loss] : losses_of(groups, best.chosen)) sum += loss;
  EXPECT_NEAR(sum, best.loss, 1e-9 * best.loss);
}

}  // namespace
}  // namespace steelyard::search
