// Residual streams, and what gates and pools: formulas, and values worked out by hand. All backends in host memory
// share these operations.
#include <numeric>

#include "compute/activations.h"

namespace steelyard::compute {
namespace {

double sigmoid(double z) { return 1 / (1 + std::exp(-z)); }

class Streams : public testing::Test {
 protected:
  static Matrix rows(std::vector<float>& values, int64_t cols) {
    return {values.data(), static_cast<int64_t>(values.size()) / cols, cols, cols};
  }
  const std::unique_ptr<Backend> ref_ = make_backend("ref");
};

TEST_F(Streams, Center) {
  for (const int64_t cols : {1, 3, 130}) {
    Activations x(40, cols, 1), before(40, cols, 1);
    ref_->center(x.matrix());
    for (int64_t t = 0; t < 40; ++t) {
      const float* const row = before.matrix().row(t);
      const double mean = std::accumulate(row, row + cols, 0.0) / static_cast<double>(cols);
      for (int64_t c = 0; c < cols; ++c) ASSERT_NEAR(x.matrix().row(t)[c], row[c] - mean, 1e-6);
    }
    EXPECT_TRUE(x.untouched_outside());
  }
  std::vector<float> one = {5, -1, 2};
  ref_->center(rows(one, 3));
  EXPECT_EQ(one, (std::vector<float>{3, -3, 0}));
}

TEST_F(Streams, Softmax) {
  std::vector<float> x = {0, std::log(2.0f), std::log(5.0f), 1000, 1000, -1000};
  ref_->softmax(rows(x, 3));
  const double expected[] = {1.0 / 8, 2.0 / 8, 5.0 / 8, 0.5, 0.5, 0};
  for (size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(x[i], expected[i], 1e-7) << i;
}

// Two streams, two rounds: the formula written out.
TEST_F(Streams, HyperWeightsByHand) {
  constexpr float kEps = 0.01f;
  const std::vector<float> base = {0.1f, -0.2f, 0.3f, 0.4f, 0.5f, -0.6f, 0.7f, 0.8f}, scale = {2.0f, 0.5f, 1.5f};
  std::vector<float> m = {1, -1, 0.5f, 2, 0.25f, -0.75f, 1.25f, 0};
  const std::vector<float> before = m;
  ref_->hyper_weights({base.data(), scale.data(), 2, 2, kEps}, rows(m, 8));
  const auto value = [&](int i, int part) { return static_cast<double>(before[i]) * scale[part] + base[i]; };
  for (int i : {0, 1}) EXPECT_NEAR(m[i], sigmoid(value(i, 0)) + kEps, 1e-6);
  for (int i : {2, 3}) EXPECT_NEAR(m[i], 2 * sigmoid(value(i, 1)), 1e-6);
  double a = std::exp(value(4, 2)), b = std::exp(value(5, 2)), c = std::exp(value(6, 2)), d = std::exp(value(7, 2));
  const auto divide = [](double& x, double& y, double by) {
    x /= by;
    y /= by;
  };
  divide(a, b, a + b);  // source 0 to its targets
  divide(c, d, c + d);
  for (double* each : {&a, &b, &c, &d}) *each += kEps;
  const auto columns = [&] {
    divide(a, c, a + c + kEps);
    divide(b, d, b + d + kEps);
  };
  columns();
  divide(a, b, a + b + kEps);
  divide(c, d, c + d + kEps);
  columns();
  EXPECT_NEAR(m[4], a, 1e-6);
  EXPECT_NEAR(m[5], b, 1e-6);
  EXPECT_NEAR(m[6], c, 1e-6);
  EXPECT_NEAR(m[7], d, 1e-6);
}

// After many rounds sources and targets all have a weight of 1; and `pre` alone is the first part of the whole.
TEST_F(Streams, HyperWeightsAreDoublyStochastic) {
  constexpr int64_t kStreams = 5, kCols = kStreams * (kStreams + 2);
  Activations m(33, kCols, 1), pre(33, kCols, 1), base(1, kCols, 2, 0);
  const float scale[] = {1.0f, 0.5f, 2.0f};
  HyperArgs args{base.matrix().data, scale, kStreams, 60, 1e-6f};
  ref_->hyper_weights(args, m.matrix());
  EXPECT_TRUE(m.untouched_outside());
  for (int64_t t = 0; t < 33; ++t) {
    const float* const mix = m.matrix().row(t) + 2 * kStreams;
    for (int64_t i = 0; i < kStreams; ++i) {
      double source = 0, target = 0;
      for (int64_t j = 0; j < kStreams; ++j) {
        EXPECT_GT(mix[i * kStreams + j], 0);
        source += mix[i * kStreams + j];
        target += mix[j * kStreams + i];
      }
      EXPECT_NEAR(source, 1, 1e-3);
      EXPECT_NEAR(target, 1, 1e-5);
    }
  }
  ref_->hyper_weights(args, pre.matrix().columns(0, kStreams));
  EXPECT_TRUE(identical(pre.matrix().columns(0, kStreams), m.matrix().columns(0, kStreams)));
}

TEST_F(Streams, Mix) {
  constexpr int64_t kRows = 19, kWidth = 37;
  for (const auto& [n_in, n_out] : {std::pair<int64_t, int64_t>{4, 1}, {1, 4}, {3, 3}}) {
    for (const bool add : {false, true}) {
      Activations x(kRows, n_in * kWidth, 1), weights(kRows, n_in * n_out, 2), out(kRows, n_out * kWidth, 3),
          before(kRows, n_out * kWidth, 3);
      ref_->mix_streams(x.matrix(), weights.matrix(), kWidth, out.matrix(), add);
      EXPECT_TRUE(out.untouched_outside());
      for (int64_t t = 0; t < kRows; ++t) {
        for (int64_t to = 0; to < n_out; ++to) {
          for (int64_t c = 0; c < kWidth; ++c) {
            double sum = add ? before.matrix().row(t)[to * kWidth + c] : 0;
            for (int64_t from = 0; from < n_in; ++from)
              sum += static_cast<double>(weights.matrix().row(t)[from * n_out + to]) *
                     x.matrix().row(t)[from * kWidth + c];
            ASSERT_NEAR(out.matrix().row(t)[to * kWidth + c], sum, 1e-5);
          }
        }
      }
    }
  }
}

TEST_F(Streams, SimilarityGate) {
  // Products of 8, -8, 0 and something tiny under the root's least; four columns halve them.
  std::vector<float> x = {2, 0, 1, 2, 2, 0, 1, 2, 1, 1, 0, 0, 1e-6f, 0, 0, 0},
                     y = {1, 9, 2, 2, -1, 9, -2, -2, 1, -1, 5, 5, 2, 1, 1, 1}, out(4);
  ref_->similarity_gate(rows(x, 4), rows(y, 4), rows(out, 1));
  EXPECT_NEAR(out[0], sigmoid(2), 1e-6);
  EXPECT_NEAR(out[1], sigmoid(-2), 1e-6);
  EXPECT_NEAR(out[2], sigmoid(1e-3), 1e-6);
  EXPECT_NEAR(out[3], sigmoid(1e-3), 1e-6);
}

TEST_F(Streams, SoftmaxPool) {
  const float third = std::log(3.0f);
  std::vector<float> x = {1, 2, 5, 6, 10, 20, 30, 40, 7, 7}, scores = {0, third, third, 0, 1000, 5, -1000, 5, 0, 0},
                     out(4);
  ref_->softmax_pool(rows(x, 2), rows(scores, 2), 2, rows(out, 2));  // the fifth row is no whole block
  EXPECT_NEAR(out[0], (1 + 3 * 5) / 4.0, 1e-6);
  EXPECT_NEAR(out[1], (3 * 2 + 6) / 4.0, 1e-6);
  EXPECT_EQ(out[2], 10);
  EXPECT_NEAR(out[3], 30, 1e-5);
  Activations values(7, 19, 1), any(7, 19, 2, 3, 50.0f), same(7, 19, 3);
  ref_->softmax_pool(values.matrix(), any.matrix(), 1, same.matrix());
  EXPECT_TRUE(identical(same.matrix(), values.matrix()));
  EXPECT_TRUE(same.untouched_outside());
}

TEST_F(Streams, OfNoRows) {
  const float one = 1;
  for (const char* name : {"cpu", "ref"}) {
    const auto backend = make_backend(name);
    const auto none = [](int64_t cols) { return Matrix{nullptr, 0, cols, cols}; };
    backend->center(none(8));
    backend->softmax(none(8));
    backend->hyper_weights({&one, &one, 2, 3, 1e-6f}, none(8));
    backend->mix_streams(none(8), none(4), 4, none(8), true);
    backend->similarity_gate(none(8), none(8), none(1));
    backend->softmax_pool(none(8), none(8), 4, none(8));
    Activations few(3, 8, 1);  // less than a block
    backend->softmax_pool(few.matrix(), few.matrix(), 4, none(8));
    backend->gated(Activation::kProduct, none(8), none(8));
    backend->apply_gate(Gate::kSoftplus, none(8), none(1));
    float state[4] = {1, 2, 3, 4};
    StateSpaceArgs space{none(2), none(2), none(2), none(1), &one, &one, &one, 1, 2, 1, 2};
    backend->state_space(space, state, none(2));
    ConvArgs convolution{.taps = &one, .n_taps = 2, .dilation = 2};
    backend->causal_conv(convolution, none(2), state, none(2));
    EXPECT_EQ(std::vector<float>(state, state + 4), (std::vector<float>{1, 2, 3, 4})) << name;
  }
}

}  // namespace
}  // namespace steelyard::compute
