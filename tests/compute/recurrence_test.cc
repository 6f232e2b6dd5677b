// Recurrent operations beyond those of gated delta net layers (delta_net_test.cc): convolutions with a bias, a dilation
// or without silu, the delta rule by key channel, the state space. Formulas, cpu against ref, and pieces against the
// whole.
#include "base/parallel.h"
#include "compute/activations.h"

namespace steelyard::compute {
namespace {

double sigmoid(double z) { return 1 / (1 + std::exp(-z)); }
double softplus(double z) { return std::log1p(std::exp(z)); }

constexpr int64_t kPieces[] = {1, 2, 1, 0, 12, 5};
constexpr int64_t kTokens = 21;

// By its definition, from nothing before the first token.
TEST(Convolution, Options) {
  for (const int64_t cols : {1, 7, 300}) {
    for (const int64_t n_taps : {1, 3, 4}) {
      for (const int64_t dilation : {1, 2, 5}) {
        for (const bool plain : {false, true}) {
          Activations x(kTokens, cols, 1), taps(n_taps, cols, 2, 0), bias(1, cols, 4, 0), expected(kTokens, cols, 3);
          const ConvArgs args{taps.matrix().data, n_taps, plain ? nullptr : bias.matrix().data, !plain, dilation};
          EXPECT_EQ(args.n_past(), (n_taps - 1) * dilation);
          for (int64_t t = 0; t < kTokens; ++t) {
            for (int64_t c = 0; c < cols; ++c) {
              double sum = plain ? 0 : bias.matrix().row(0)[c];
              for (int64_t back = 0; back < n_taps && t - back * dilation >= 0; ++back)
                sum += static_cast<double>(taps.matrix().row(n_taps - 1 - back)[c]) *
                       x.matrix().row(t - back * dilation)[c];
              expected.matrix().row(t)[c] = static_cast<float>(plain ? sum : sum * sigmoid(sum));
            }
          }
          for (const char* name : {"cpu", "ref"}) {
            const auto backend = make_backend(name);
            Activations whole(kTokens, cols, 3), pieces(kTokens, cols, 3);
            std::vector<float> state(static_cast<size_t>(args.n_past() * cols)), carried(state.size());
            backend->causal_conv(args, x.matrix(), state.data(), whole.matrix());
            int64_t begin = 0;
            for (const int64_t piece : kPieces) {
              backend->causal_conv(args, x.matrix().slice(begin, piece), carried.data(),
                                   pieces.matrix().slice(begin, piece));
              begin += piece;
            }
            ASSERT_EQ(begin, kTokens);
            expect_close(whole.matrix(), expected.matrix(), 1e-6f, /*least_scale=*/1.0f);  // of the products
            EXPECT_TRUE(identical(whole.matrix(), pieces.matrix())) << name;
            EXPECT_EQ(state, carried) << name;
            EXPECT_TRUE(whole.untouched_outside());
          }
        }
      }
    }
  }
}

struct Shape {
  int64_t n_head, n_head_k, head;
};

class DeltaRuleByChannel : public testing::TestWithParam<Shape> {
 protected:
  static constexpr int64_t kLong = 90;
  int64_t width() const { return GetParam().n_head * GetParam().head; }

  DeltaRuleArgs args(int64_t begin, int64_t n, float bound, bool by_channel = true) {
    const auto [n_head, n_head_k, head] = GetParam();
    const Matrix in = qkv_.matrix().slice(begin, n);
    const int64_t keys = n_head_k * head;
    Activations& alpha = by_channel ? alpha_ : alpha_of_heads_;
    DeltaRuleArgs args{in.columns(0, keys),
                       in.columns(keys, keys),
                       in.columns(2 * keys, width()),
                       beta_.matrix().slice(begin, n),
                       alpha.matrix().slice(begin, n),
                       decay_.data(),
                       dt_.matrix().data,
                       n_head,
                       n_head_k,
                       head,
                       false,
                       1e-6f};
    args.bound = bound;
    return args;
  }
  std::vector<float> empty_state() const { return std::vector<float>(static_cast<size_t>(width() * GetParam().head)); }

  Activations qkv_{kLong, (2 * GetParam().n_head_k + GetParam().n_head) * GetParam().head, 1},
      beta_{kLong, GetParam().n_head, 2}, alpha_{kLong, width(), 3, 3, 3.0f},
      alpha_of_heads_{kLong, GetParam().n_head, 3, 3, 3.0f}, dt_{1, width(), 4, 0};
  std::vector<float> decay_ = std::vector<float>(static_cast<size_t>(GetParam().n_head), -0.3f);
  const std::unique_ptr<Backend> cpu_ = make_backend("cpu"), ref_ = make_backend("ref");
};

INSTANTIATE_TEST_SUITE_P(Shapes, DeltaRuleByChannel,
                         testing::Values(Shape{1, 1, 2}, Shape{2, 1, 5}, Shape{4, 2, 16}, Shape{3, 3, 47},
                                         Shape{2, 2, 128}));

TEST_P(DeltaRuleByChannel, CpuAgrees) {
  for (const float bound : {0.0f, -5.0f}) {
    for (const bool by_channel : {true, false}) {
      for (const int64_t n : {int64_t{1}, int64_t{2}, kLong}) {
        Activations found(n, width(), 9), expected(n, width(), 9);
        std::vector<float> cpu_state = empty_state(), ref_state = empty_state();
        cpu_->delta_rule(args(0, n, bound, by_channel), cpu_state.data(), found.matrix());
        ref_->delta_rule(args(0, n, bound, by_channel), ref_state.data(), expected.matrix());
        expect_close(found.matrix(), expected.matrix(), 2e-6f, /*least_scale=*/1.0f);
        EXPECT_TRUE(found.untouched_outside());
      }
    }
  }
}

TEST_P(DeltaRuleByChannel, PiecesEqualTheWhole) {
  for (Backend* backend : {cpu_.get(), ref_.get()}) {
    Activations whole(kLong, width(), 9), pieces(kLong, width(), 9);
    std::vector<float> state = empty_state(), carried = empty_state();
    backend->delta_rule(args(0, kLong, -5.0f), state.data(), whole.matrix());
    int64_t begin = 0;
    for (const int64_t piece : {1, 1, 5, 0, 66, 17}) {
      backend->delta_rule(args(begin, piece, -5.0f), carried.data(), pieces.matrix().slice(begin, piece));
      begin += piece;
    }
    ASSERT_EQ(begin, kLong);
    EXPECT_TRUE(identical(whole.matrix(), pieces.matrix())) << backend->name();
    EXPECT_EQ(state, carried) << backend->name();
  }
}

// Where all channels forget at the pace of their head, it is the rule of heads.
TEST_P(DeltaRuleByChannel, EqualChannelsAreAHead) {
  const auto [n_head, n_head_k, head] = GetParam();
  Activations dt_of_heads(1, n_head, 5, 0);
  for (int64_t h = 0; h < n_head; ++h) {
    std::fill_n(dt_.matrix().row(0) + h * head, head, dt_of_heads.matrix().row(0)[h]);
    for (int64_t t = 0; t < kLong; ++t)
      std::fill_n(alpha_.matrix().row(t) + h * head, head, alpha_of_heads_.matrix().row(t)[h]);
  }
  for (Backend* backend : {cpu_.get(), ref_.get()}) {
    for (const float bound : {0.0f, -2.0f}) {
      Activations channels(kLong, width(), 9), heads(kLong, width(), 9);
      std::vector<float> one = empty_state(), other = empty_state();
      backend->delta_rule(args(0, kLong, bound), one.data(), channels.matrix());
      DeltaRuleArgs of_heads = args(0, kLong, bound, false);
      of_heads.dt = dt_of_heads.matrix().data;
      backend->delta_rule(of_heads, other.data(), heads.matrix());
      expect_close(channels.matrix(), heads.matrix(), 2e-6f, 1.0f);
    }
  }
}

// Two channels, two tokens, keys and queries along the axes: each channel's row of the state decays at its own pace.
TEST(DeltaRuleByHand, Channels) {
  // Token 0 writes v to channel 0 and 1 at once, token 1 writes nothing (beta -> 0) and reads channel 1.
  float q[] = {1, 0, 0, 1}, k[] = {3, 4, 1, 0}, v[] = {2, -1, 0, 0}, beta[] = {50, -50}, alpha[] = {0, 0, 0.5f, -1};
  const float rate = -0.7f, dt[] = {0.25f, 1.5f};
  for (const float bound : {0.0f, -3.0f}) {
    const auto decay = [&](double z) { return std::exp(bound < 0 ? bound * sigmoid(0.7 * z) : -0.7 * softplus(z)); };
    for (const char* name : {"cpu", "ref"}) {
      float state[4] = {}, out[4];
      const auto rows = [](float* data, int64_t cols) { return Matrix{data, 2, cols, cols}; };
      DeltaRuleArgs args{rows(q, 2), rows(k, 2), rows(v, 2), rows(beta, 1), rows(alpha, 2), &rate, dt, 1, 1,
                         2,          false,      0};
      args.bound = bound;
      make_backend(name)->delta_rule(args, state, rows(out, 2));
      for (int c = 0; c < 2; ++c) {
        EXPECT_NEAR(out[c], 0.6 * v[c] / std::sqrt(2.0), 1e-6) << name;
        EXPECT_NEAR(out[2 + c], 0.8 * v[c] * decay(-1 + 1.5) / std::sqrt(2.0), 1e-6) << name;
      }
    }
  }
}

struct StateShape {
  int64_t n_head, head, n_group, n_state;
};

class StateSpace : public testing::TestWithParam<StateShape> {
 protected:
  int64_t width() const { return GetParam().n_head * GetParam().head; }
  StateSpaceArgs args(int64_t begin, int64_t n) {
    const auto [n_head, head, n_group, n_state] = GetParam();
    const auto rows = [&](Activations& all) { return all.matrix().slice(begin, n); };
    return {rows(x_), rows(b_), rows(c_), rows(dt_), dt_bias_.matrix().data, decay_.data(), skip_.matrix().data,
            n_head,   head,     n_group,  n_state};
  }
  std::vector<float> empty_state() const {
    return std::vector<float>(static_cast<size_t>(width() * GetParam().n_state));
  }

  Activations x_{kTokens, width(), 1}, b_{kTokens, GetParam().n_group*GetParam().n_state, 2},
      c_{kTokens, GetParam().n_group*GetParam().n_state, 3}, dt_{kTokens, GetParam().n_head, 4},
      dt_bias_{1, GetParam().n_head, 5, 0}, skip_{1, GetParam().n_head, 6, 0};
  std::vector<float> decay_ = std::vector<float>(static_cast<size_t>(GetParam().n_head), -0.4f);
};

INSTANTIATE_TEST_SUITE_P(Shapes, StateSpace,
                         testing::Values(StateShape{1, 1, 1, 1}, StateShape{4, 3, 2, 5}, StateShape{6, 16, 3, 16},
                                         StateShape{2, 64, 1, 37}));

// The recurrence is linear in the state: without it, out is a sum over the tokens so far.
TEST_P(StateSpace, IsASumOverThePast) {
  const auto [n_head, head, n_group, n_state] = GetParam();
  Activations expected(kTokens, width(), 9);
  for (int64_t t = 0; t < kTokens; ++t) {
    for (int64_t h = 0; h < n_head; ++h) {
      const int64_t group = h / (n_head / n_group);
      const auto step = [&](int64_t at) {
        return softplus(static_cast<double>(dt_.matrix().row(at)[h]) + dt_bias_.matrix().row(0)[h]);
      };
      for (int64_t i = 0; i < head; ++i) {
        double sum = static_cast<double>(skip_.matrix().row(0)[h]) * x_.matrix().row(t)[h * head + i], elapsed = 0;
        for (int64_t s = t; s >= 0; --s) {
          double bc = 0;
          for (int64_t j = 0; j < n_state; ++j)
            bc +=
                static_cast<double>(b_.matrix().row(s)[group * n_state + j]) * c_.matrix().row(t)[group * n_state + j];
          sum += std::exp(decay_[static_cast<size_t>(h)] * elapsed) * step(s) * bc * x_.matrix().row(s)[h * head + i];
          elapsed += step(s);
        }
        expected.matrix().row(t)[h * head + i] = static_cast<float>(sum);
      }
    }
  }
  for (const char* name : {"cpu", "ref"}) {
    Activations found(kTokens, width(), 9);
    std::vector<float> state = empty_state();
    make_backend(name)->state_space(args(0, kTokens), state.data(), found.matrix());
    expect_close(found.matrix(), expected.matrix(), 2e-6f, 1.0f);
    EXPECT_TRUE(found.untouched_outside());
  }
}

TEST_P(StateSpace, PiecesEqualTheWhole) {
  const int before = omp_get_max_threads();
  for (const char* name : {"cpu", "ref"}) {
    Activations whole(kTokens, width(), 9), pieces(kTokens, width(), 9);
    std::vector<float> state = empty_state(), carried = empty_state();
    set_thread_count(1);
    make_backend(name)->state_space(args(0, kTokens), state.data(), whole.matrix());
    set_thread_count(3);
    int64_t begin = 0;
    for (const int64_t piece : kPieces) {
      make_backend(name)->state_space(args(begin, piece), carried.data(), pieces.matrix().slice(begin, piece));
      begin += piece;
    }
    EXPECT_TRUE(identical(whole.matrix(), pieces.matrix())) << name;
    EXPECT_EQ(state, carried) << name;
  }
  set_thread_count(before);
}

TEST(SoftplusGate, Values) {
  for (const int64_t cols : {1, 3, 16, 37}) {
    for (const int64_t gate_cols : {int64_t{1}, cols}) {
      for (const char* name : {"cpu", "ref"}) {
        Activations found(40, cols, 1), expected(40, cols, 1), gate(40, gate_cols, 2, 5, 5.0f);
        gate.matrix().row(3)[0] = 1000;  // nothing overflows
        gate.matrix().row(4)[0] = -1000;
        for (int64_t t = 0; t < 40; ++t) {
          for (int64_t c = 0; c < cols; ++c) {
            const double g = gate.matrix().row(t)[gate_cols == 1 ? 0 : c];
            expected.matrix().row(t)[c] *= static_cast<float>(g > 100 ? g : softplus(g));
          }
        }
        make_backend(name)->apply_gate(Gate::kSoftplus, found.matrix(), gate.matrix());
        expect_close(found.matrix(), expected.matrix(), 1e-6f);
        EXPECT_TRUE(found.untouched_outside());
      }
    }
  }
}

}  // namespace
}  // namespace steelyard::compute
