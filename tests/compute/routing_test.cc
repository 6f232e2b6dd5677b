// Which experts a token gets, with which weights, and in which order their rows lie.
#include "compute/routing.h"

#include "compute/activations.h"
#include "support.h"

namespace steelyard::compute {
namespace {

struct Selection {
  std::vector<int32_t> experts;
  std::vector<float> weights;
};

Selection select(const std::vector<float>& logits, const RouteArgs& args) {
  Selection selection{std::vector<int32_t>(static_cast<size_t>(args.n_used)),
                      std::vector<float>(static_cast<size_t>(args.n_used))};
  std::vector<float> scratch(2 * logits.size());
  select_experts(logits, args, scratch, selection.experts.data(), selection.weights.data());
  return selection;
}

RouteArgs plain(Gating gating, int64_t n_used) {
  return {.gating = gating,
          .bias = nullptr,
          .n_used = n_used,
          .n_group = 1,
          .n_group_used = 1,
          .normalize = false,
          .scale = 1};
}

using Ids = std::vector<int32_t>;

TEST(Routing, TakesTheBestInDescendingOrder) {
  for (const Gating gating : {Gating::kSoftmax, Gating::kSigmoid, Gating::kSoftmaxWeight}) {
    EXPECT_EQ(select({0.1f, 2.0f, -1.0f, 3.0f}, plain(gating, 3)).experts, (Ids{3, 1, 0}));
  }
}

TEST(Routing, TiesGoToTheLowerExpert) {
  for (const Gating gating : {Gating::kSoftmax, Gating::kSigmoid, Gating::kSoftmaxWeight}) {
    EXPECT_EQ(select({1, 2, 2, 1, 2}, plain(gating, 4)).experts, (Ids{1, 2, 4, 0}));
    EXPECT_EQ(select({0, 0, 0}, plain(gating, 3)).experts, (Ids{0, 1, 2}));
  }
}

TEST(Routing, Gating) {
  const std::vector<float> logits = {0.5f, -1.0f, 2.0f};
  const double e0 = std::exp(0.5), e1 = std::exp(-1.0), e2 = std::exp(2.0);
  const Selection softmax = select(logits, plain(Gating::kSoftmax, 2));
  EXPECT_NEAR(softmax.weights[0], e2 / (e0 + e1 + e2), 1e-6);
  EXPECT_NEAR(softmax.weights[1], e0 / (e0 + e1 + e2), 1e-6);
  const Selection sigmoid = select(logits, plain(Gating::kSigmoid, 2));
  EXPECT_NEAR(sigmoid.weights[0], 1 / (1 + std::exp(-2.0)), 1e-6);
  EXPECT_NEAR(sigmoid.weights[1], 1 / (1 + std::exp(-0.5)), 1e-6);
  // Softmax over the chosen only.
  const Selection after = select(logits, plain(Gating::kSoftmaxWeight, 2));
  EXPECT_NEAR(after.weights[0], e2 / (e0 + e2), 1e-6);
  EXPECT_NEAR(after.weights[1], e0 / (e0 + e2), 1e-6);
}

// Experts that are given instead: their order and their number stay, and they are weighed as if they had been selected.
TEST(Routing, Chosen) {
  Activations logits(3, 6, 1);
  const Ids chosen = {4, 0, 2, 5, 1, 1};
  const float bias[] = {9, -9, 9, -9, 9, -9};  // steers selections only
  for (const char* name : {"cpu", "ref"}) {
    for (const Gating gating : {Gating::kSigmoid, Gating::kSqrtSoftplus}) {
      RoutingMemory memory(3, 2, 6);
      RouteArgs args = plain(gating, 2);
      args.normalize = true;
      args.scale = 2.5f;
      args.bias = bias;
      args.chosen = chosen.data();
      make_backend(name)->route(logits.matrix(), args, memory.get());
      const Routing& found = memory.get();
      EXPECT_EQ(Ids(found.expert, found.expert + 6), chosen) << name;
      EXPECT_EQ(Ids(found.row_begin, found.row_begin + 7), (Ids{0, 1, 3, 4, 4, 5, 6}));
      for (size_t t = 0; t < 3; ++t) {
        double p[2];
        for (size_t rank : {0, 1}) {
          const double z = logits.matrix().row(static_cast<int64_t>(t))[chosen[2 * t + rank]];
          p[rank] = gating == Gating::kSigmoid ? 1 / (1 + std::exp(-z)) : std::sqrt(std::log1p(std::exp(z)));
        }
        for (size_t rank : {0, 1}) EXPECT_NEAR(found.weight[2 * t + rank], 2.5 * p[rank] / (p[0] + p[1]), 1e-6) << name;
      }
    }
  }
}

TEST(Routing, SqrtSoftplus) {
  const Selection selection = select({0.5f, -1.0f, 200.0f, -200.0f}, plain(Gating::kSqrtSoftplus, 4));
  EXPECT_EQ(selection.experts, (Ids{2, 0, 1, 3}));
  EXPECT_NEAR(selection.weights[0], std::sqrt(200.0), 1e-5);
  EXPECT_NEAR(selection.weights[1], std::sqrt(std::log1p(std::exp(0.5))), 1e-6);
  EXPECT_NEAR(selection.weights[2], std::sqrt(std::log1p(std::exp(-1.0))), 1e-6);
  EXPECT_EQ(selection.weights[3], 0.0f);
}

TEST(Routing, LargeLogitsDoNotOverflow) {
  for (const Gating gating : {Gating::kSoftmax, Gating::kSigmoid, Gating::kSoftmaxWeight}) {
    const Selection selection = select({1e4f, -1e4f, 9.9e3f}, plain(gating, 2));
    EXPECT_EQ(selection.experts, (Ids{0, 2}));
    EXPECT_FLOAT_EQ(selection.weights[0], 1.0f);
  }
}

TEST(Routing, BiasSteersTheSelectionOnly) {
  const std::vector<float> bias = {0, 5, 0, 0};
  RouteArgs args = plain(Gating::kSigmoid, 2);
  const std::vector<float> logits = {1, -2, 0.5f, 0};
  EXPECT_EQ(select(logits, args).experts, (Ids{0, 2}));
  args.bias = bias.data();
  const Selection selection = select(logits, args);
  EXPECT_EQ(selection.experts, (Ids{1, 0}));
  EXPECT_NEAR(selection.weights[0], 1 / (1 + std::exp(2.0)), 1e-6);  // without the bias
}

TEST(Routing, NormalisesAndScales) {
  RouteArgs args = plain(Gating::kSigmoid, 2);
  args.normalize = true;
  args.scale = 2.5f;
  const Selection selection = select({1, 0, -1}, args);
  const double a = 1 / (1 + std::exp(-1.0)), b = 0.5;
  EXPECT_NEAR(selection.weights[0], 2.5 * a / (a + b), 1e-6);
  EXPECT_NEAR(selection.weights[1], 2.5 * b / (a + b), 1e-6);
}

// Below 2^-14 the divisor stays there: tiny probabilities are not blown up to one.
TEST(Routing, NormalisationIsClamped) {
  RouteArgs args = plain(Gating::kSigmoid, 2);
  args.normalize = true;
  const Selection selection = select({-20, -21, -30}, args);
  EXPECT_NEAR(selection.weights[0] / (std::exp(-20.0) * 0x1p14), 1.0, 1e-5);
  EXPECT_NEAR(selection.weights[1] / (std::exp(-21.0) * 0x1p14), 1.0, 1e-5);
}

TEST(Routing, OnlyTheBestGroupsTakePart) {
  RouteArgs args = plain(Gating::kSigmoid, 2);
  args.n_group = 3;
  args.n_group_used = 1;
  // Group scores are sums of two: the middle group wins although the best single expert is in the first.
  EXPECT_EQ(select({3, -9, -9, 2, 2, -9, 0, 0, 0}, args).experts, (Ids{3, 4}));
  args.n_group_used = 2;
  EXPECT_EQ(select({3, -9, -9, 2, 2, -9, 0, 0, 0}, args).experts, (Ids{3, 4}));
  // The earlier of equal groups.
  args.n_group_used = 1;
  EXPECT_EQ(select({1, 1, 0, 1, 1, 0, 1, 1, 0}, args).experts, (Ids{0, 1}));
}

// The bias counts for groups too: their scores are selection scores.
TEST(Routing, BiasSteersGroups) {
  const std::vector<float> bias = {0, 0, 0, 0, 5, 0};
  RouteArgs args = plain(Gating::kSigmoid, 1);
  args.n_group = 3;
  args.n_group_used = 1;
  args.bias = bias.data();
  EXPECT_EQ(select({3, 3, 2, 2, 0, 0}, args).experts, (Ids{4}));
}

TEST(Routing, GroupsOfOne) {
  RouteArgs args = plain(Gating::kSoftmax, 2);
  args.n_group = 4;
  args.n_group_used = 2;
  EXPECT_EQ(select({0, 3, 1, 2}, args).experts, (Ids{1, 3}));
}

TEST(Routing, SortByExpert) {
  for (const int64_t n_tokens : {1, 2, 9, 200}) {
    for (const int64_t n_used : {1, 3, 8}) {
      RoutingMemory memory(n_tokens, n_used, 8);
      Routing& routing = memory.get();
      fill_randomly(routing, 3);
      EXPECT_EQ(routing.row_begin[0], 0);
      EXPECT_EQ(routing.row_begin[8], routing.n_slots());
      std::vector<int> seen(static_cast<size_t>(routing.n_slots()));
      for (int64_t slot = 0; slot < routing.n_slots(); ++slot) {
        const int32_t row = routing.row[slot], expert = routing.expert[slot];
        ASSERT_GE(row, routing.row_begin[expert]);
        ASSERT_LT(row, routing.row_begin[expert + 1]);
        EXPECT_EQ(routing.token[row], slot / n_used);
        ++seen[static_cast<size_t>(row)];
      }
      for (const int count : seen) EXPECT_EQ(count, 1);  // rows are a permutation of slots
      for (int32_t e = 0; e < 8; ++e) {                  // tokens keep their order within an expert
        for (int32_t r = routing.row_begin[e] + 1; r < routing.row_begin[e + 1]; ++r) {
          EXPECT_LT(routing.token[r - 1], routing.token[r]);
        }
      }
    }
  }
}

}  // namespace
}  // namespace steelyard::compute
