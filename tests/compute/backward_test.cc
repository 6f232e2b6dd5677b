// Backward operations of the reference on rows, on experts and of the loss, against differences of the operations that
// they belong to; and the step of Adam against its formula.
#include <numeric>

#include "compute/differences.h"
#include "support.h"

namespace steelyard::compute {
namespace {

constexpr int64_t kRows = 5, kCols = 12;

class Backward : public testing::Test {
 protected:
  // A copy of x, which an operation in place may change.
  Matrix copied(Activations& x) {
    ref_->copy(x.matrix(), copy_.matrix());
    return copy_.matrix();
  }

  void expect_gates(Gate kind) {
    for (const int64_t n : {kCols, int64_t{1}}) {  // of every value, and of every row
      Activations gate(kRows, n, 4), d(kRows, kCols, 2);
      GradientSum dgate(kRows, n, 5);
      ref_->apply_gate_backward(kind, x_.matrix(), gate.matrix(), d.matrix(), dgate.matrix());
      expect_gradients({{x_.matrix(), numbers(d.matrix())}, {gate.matrix(), dgate.added()}}, [&] {
        const Matrix x = copied(x_);
        ref_->apply_gate(kind, x, gate.matrix());
        return weighted_sum(x, dout_.matrix());
      });
    }
  }

  const std::unique_ptr<Backend> ref_ = make_backend("ref");
  Activations x_{kRows, kCols, 1}, dout_{kRows, kCols, 2}, copy_{kRows, kCols, 3};
};

TEST_F(Backward, RmsNorm) {
  Activations weight(1, kCols, 4, 0), out(kRows, kCols, 5);
  const float* const gains = weight.matrix().data;
  for (const float eps : {1e-6f, 0.5f}) {
    GradientSum dx(kRows, kCols, 6), same(kRows, kCols, 6), dweight(1, kCols, 7);
    ref_->rms_norm_backward(x_.matrix(), gains, eps, dout_.matrix(), dx.matrix(), dweight.data());
    ref_->rms_norm_backward(x_.matrix(), gains, eps, dout_.matrix(), same.matrix(), nullptr);
    EXPECT_TRUE(identical(dx.matrix(), same.matrix()));
    expect_gradients({{x_.matrix(), dx.added()}, {weight.matrix(), dweight.added()}}, [&] {
      ref_->rms_norm(x_.matrix(), gains, eps, out.matrix());
      return weighted_sum(out.matrix(), dout_.matrix());
    });
  }
}

TEST_F(Backward, RmsNormWithoutGains) {
  Activations out(kRows, kCols, 5);
  GradientSum dx(kRows, kCols, 6);
  ref_->rms_norm_backward(x_.matrix(), nullptr, 0.1f, dout_.matrix(), dx.matrix(), nullptr);
  expect_gradients({{x_.matrix(), dx.added()}}, [&] {
    ref_->rms_norm(x_.matrix(), nullptr, 0.1f, out.matrix());
    return weighted_sum(out.matrix(), dout_.matrix());
  });
}

// Its own derivative.
TEST_F(Backward, Center) {
  Activations d(kRows, kCols, 2);
  ref_->center(d.matrix());
  expect_gradients({{x_.matrix(), numbers(d.matrix())}}, [&] {
    const Matrix x = copied(x_);
    ref_->center(x);
    return weighted_sum(x, dout_.matrix());
  });
}

TEST_F(Backward, Softcap) {
  Activations d(kRows, kCols, 2), out(kRows, kCols, 1);
  ref_->softcap(out.matrix(), 1.5f);
  ref_->softcap_backward(out.matrix(), 1.5f, d.matrix());
  expect_gradients({{x_.matrix(), numbers(d.matrix())}}, [&] {
    const Matrix x = copied(x_);
    ref_->softcap(x, 1.5f);
    return weighted_sum(x, dout_.matrix());
  });
}

TEST_F(Backward, Gated) {
  for (const Activation activation : {Activation::kSwiglu, Activation::kGeglu, Activation::kClampedSwiglu}) {
    const float sigma = activation == Activation::kClampedSwiglu ? 6.0f : 1.5f;
    Activations gate(kRows, kCols, 4, 5, sigma), up(kRows, kCols, 5, 5, sigma);
    int n_clamped = 0;
    for (Activations* each : {&gate, &up}) {
      for (int64_t r = 0; r < kRows; ++r) {
        for (int64_t c = 0; c < kCols; ++c) {
          float& value = each->matrix().row(r)[c];
          if (std::abs(std::abs(value) - 7.0f) < 0.5f) value *= 1.2f;  // differences do not cross the bend
          n_clamped += std::abs(value) > 7.0f;
        }
      }
    }
    EXPECT_EQ(n_clamped > 10, activation == Activation::kClampedSwiglu);
    Activations d(kRows, kCols, 2);
    GradientSum dup(kRows, kCols, 6);
    ref_->gated_backward(activation, gate.matrix(), up.matrix(), d.matrix(), dup.matrix());
    expect_gradients({{gate.matrix(), numbers(d.matrix())}, {up.matrix(), dup.added()}}, [&] {
      const Matrix x = copied(gate);
      ref_->gated(activation, x, up.matrix());
      return weighted_sum(x, dout_.matrix());
    });
  }
}

// Those with limits: values bend at the limits, a square at 0.
TEST_F(Backward, LimitedActivations) {
  struct Case {
    Activation activation;
    std::vector<float> gate_bends, up_bends;
  };
  const Case cases[] = {
      {{Activation::kSwiglu, 3}, {3}, {-3, 3}}, {{Activation::kCappedSwiglu, 3}, {3.131f}, {-3, 3}},  // whose silu is 3
      {{Activation::kSitu, 3}, {}, {}},         {{Activation::kSitu, 3, 2}, {}, {}},
      {Activation::kReluSquared, {0}, {}},      {Activation::kProduct, {}, {}}};
  for (const auto& [activation, gate_bends, up_bends] : cases) {
    SCOPED_TRACE(activation.kind);
    Activations gate(kRows, kCols, 4, 5, 3.0f), up(kRows, kCols, 5, 5, 3.0f), d(kRows, kCols, 2);
    const auto keep_away = [](Activations& from, const std::vector<float>& bends) {
      for (int64_t r = 0; r < kRows; ++r) {
        for (int64_t c = 0; c < kCols; ++c) {
          float& value = from.matrix().row(r)[c];
          for (const float bend : bends) value += std::abs(value - bend) < 0.5f ? 1.1f : 0.0f;
        }
      }
    };
    keep_away(gate, gate_bends);
    keep_away(up, up_bends);
    GradientSum dup(kRows, kCols, 6);
    ref_->gated_backward(activation, gate.matrix(), up.matrix(), d.matrix(), dup.matrix());
    std::vector<Input> inputs = {{gate.matrix(), numbers(d.matrix())}};
    if (activation.kind == Activation::kReluSquared)
      EXPECT_EQ(dup.added(), Numbers(kRows * kCols));
    else
      inputs.push_back({up.matrix(), dup.added()});
    expect_gradients(inputs, [&] {
      const Matrix x = copied(gate);
      ref_->gated(activation, x, up.matrix());
      return weighted_sum(x, dout_.matrix());
    });
  }
}

TEST_F(Backward, ReluSquaredAlone) {
  Activations d(kRows, kCols, 2), same(kRows, kCols, 2), dup(kRows, kCols, 6);
  ref_->gated_backward(Activation::kReluSquared, x_.matrix(), x_.matrix(), d.matrix(), dup.matrix());
  ref_->gated_backward(Activation::kReluSquared, x_.matrix(), {}, same.matrix(), {});
  EXPECT_TRUE(identical(d.matrix(), same.matrix()));
}

TEST_F(Backward, SigmoidGate) { expect_gates(Gate::kSigmoid); }
TEST_F(Backward, SoftplusGate) { expect_gates(Gate::kSoftplus); }

// Turned back, with the magnitude that is in the tables.
TEST_F(Backward, Rope) {
  constexpr int64_t kFirst = 3;
  for (const int64_t n_dims : {4, 2}) {  // whole heads of 4, and half of each
    Activations cos(kRows + kFirst, n_dims / 2, 4, 0), sin(kRows + kFirst, n_dims / 2, 5, 0);
    for (const RopePairs pairs : {RopePairs::kNorm, RopePairs::kNeox}) {
      for (const bool transposed : {false, true}) {
        RopeArgs args{3, 4, n_dims, pairs, cos.matrix().data, sin.matrix().data, kFirst, transposed};
        Activations d(kRows, kCols, 2);
        args.transposed = !transposed;
        ref_->rope(d.matrix(), args);
        args.transposed = transposed;
        expect_gradients({{x_.matrix(), numbers(d.matrix())}}, [&] {
          const Matrix x = copied(x_);
          ref_->rope(x, args);
          return weighted_sum(x, dout_.matrix());
        });
      }
    }
  }
}

TEST_F(Backward, AddRow) {
  Activations row(1, kCols, 4);
  GradientSum drow(1, kCols, 5);
  ref_->sum_rows(dout_.matrix(), drow.data());
  expect_gradients({{row.matrix(), drow.added()}}, [&] {
    const Matrix x = copied(x_);
    ref_->add_row(x, row.matrix().data);
    return weighted_sum(x, dout_.matrix());
  });
}

TEST_F(Backward, RowSumSquares) {
  std::vector<float> sums(kRows, 5.0f);
  ref_->row_sum_squares(x_.matrix(), sums.data());
  for (int64_t r = 0; r < kRows; ++r) {
    const Matrix row = x_.matrix().slice(r, 1);
    EXPECT_NEAR(sums[static_cast<size_t>(r)], weighted_sum(row, row), 1e-5);
  }
}

class ExpertsBackward : public Backward {
 protected:
  ExpertsBackward() : memory_(kRows, kUsed, kExperts) { fill_randomly(routing_, 9); }

  static constexpr int64_t kUsed = 2, kExperts = 4, kSlots = kRows * kUsed;
  RoutingMemory memory_;
  Routing& routing_ = memory_.get();
  Activations rows_{kSlots, kCols, 10}, drows_{kSlots, kCols, 11};
};

TEST_F(ExpertsBackward, AddRow) {
  Activations bias(kExperts, kCols, 4, 0), y(kSlots, kCols, 5);
  std::vector<float> sums(kExperts * kCols, 0.0f);
  ref_->sum_rows_experts(drows_.matrix(), routing_, sums.data());
  EXPECT_EQ(std::vector<float>(sums.begin(), sums.begin() + kCols), std::vector<float>(kCols));  // nobody came
  expect_gradients({{bias.matrix(), Numbers(sums.begin(), sums.end())}}, [&] {
    ref_->copy(rows_.matrix(), y.matrix());
    ref_->add_row_experts(y.matrix(), bias.matrix().data, routing_);
    return weighted_sum(y.matrix(), drows_.matrix());
  });
}

TEST_F(ExpertsBackward, Gather) {
  Activations out(kSlots, kCols, 4);
  GradientSum dx(kRows, kCols, 5);
  ref_->gather_backward(drows_.matrix(), routing_, dx.matrix());
  expect_gradients({{x_.matrix(), dx.added()}}, [&] {
    ref_->gather(x_.matrix(), routing_, out.matrix());
    return weighted_sum(out.matrix(), drows_.matrix());
  });
}

TEST_F(ExpertsBackward, Combine) {
  Activations out(kRows, kCols, 4);
  GradientSum dy(kSlots, kCols, 5);
  std::vector<float> dweight(kSlots, 5.0f);  // is overwritten
  ref_->combine_backward(rows_.matrix(), routing_, dout_.matrix(), dy.matrix(), dweight.data());
  const Matrix weights{routing_.weight, 1, kSlots, kSlots};
  expect_gradients({{rows_.matrix(), dy.added()}, {weights, numbers(as_row(dweight))}}, [&] {
    ref_->combine(rows_.matrix(), routing_, out.matrix());
    return weighted_sum(out.matrix(), dout_.matrix());
  });
}

// The steps are too small for another choice. Weights are computed in floats, which shows in the differences.
TEST_F(ExpertsBackward, Route) {
  constexpr int64_t kMany = 8;
  std::mt19937 random(21);
  std::vector<float> bias(kMany);
  for (int e = 0; e < kMany; ++e) bias[static_cast<size_t>(e)] = std::ldexp(4.0f, e);  // no two sums are near
  std::ranges::shuffle(bias, random);
  struct Case {
    const float* bias;
    int64_t n_group;
    float shift;  // of all logits: with -20 a sigmoid's sum is below 2^-14
  };
  const Case cases[] = {{nullptr, 1, 0}, {bias.data(), 1, 0}, {bias.data(), 4, 0}, {nullptr, 1, -20}};
  for (const Gating gating : {Gating::kSoftmax, Gating::kSigmoid, Gating::kSoftmaxWeight, Gating::kSqrtSoftplus}) {
    for (const auto& [each_bias, n_group, shift] : cases) {
      for (const bool normalize : {false, true}) {
        SCOPED_TRACE(testing::Message() << static_cast<int>(gating) << " " << n_group << " " << shift << normalize);
        Activations logits(kRows, kMany, 4);
        for (int64_t t = 0; t < kRows; ++t) {
          float* const row = logits.matrix().row(t);
          for (int64_t e = 0; e < kMany; ++e) row[e] = static_cast<float>(e) - 4.0f + shift;
          std::shuffle(row, row + kMany, random);
        }
        const RouteArgs args{gating, each_bias, 3, n_group, 2, normalize, 2.5f};
        RoutingMemory held(kRows, 3, kMany), moved(kRows, 3, kMany);
        ref_->route(logits.matrix(), args, held.get());
        Activations dweight(1, kRows * 3, 5);
        GradientSum dlogits(kRows, kMany, 6);
        ref_->route_backward(logits.matrix(), args, held.get(), dweight.matrix().data, dlogits.matrix());
        // Sums of tiny gradients and numbers of order 1 would lose them.
        Activations alone(kRows, kMany, 7, 5, 0.0f);
        ref_->route_backward(logits.matrix(), args, held.get(), dweight.matrix().data, alone.matrix());
        EXPECT_LE(largest_error(dlogits.added(), numbers(alone.matrix())), shift == 0 ? 1e-5 : 1.0);
        expect_gradients(
            {{logits.matrix(), numbers(alone.matrix())}},
            [&] {
              ref_->route(logits.matrix(), args, moved.get());
              EXPECT_TRUE(std::equal(moved.get().expert, moved.get().expert + kRows * 3, held.get().expert));
              return weighted_sum({moved.get().weight, 1, kRows * 3, kRows * 3}, dweight.matrix());
            },
            0.03, 3e-4);
      }
    }
  }
}

TEST_F(Backward, Divergence) {
  // An entry of no token, one without a probability, and a part that is left to all other tokens.
  constexpr int64_t kEntries = 5;
  std::vector<int32_t> tokens;
  std::vector<float> probs;
  for (int32_t t = 0; t < kRows; ++t) {
    tokens.insert(tokens.end(), {t, 11 - t, -1, 6, 5});
    probs.insert(probs.end(), {0.125f, 0.5f, 0.25f, 0.125f, 0.0f});
  }
  const TargetRows target{kEntries, tokens.data(), probs.data()};
  std::vector<float> losses(kRows, 7.0f);
  const auto loss = [&] {
    const Matrix x = copied(x_);
    ref_->divergence(x, target, losses.data());
    return std::accumulate(losses.begin(), losses.end(), 0.0);
  };
  loss();
  const Numbers gradient = numbers(copy_.matrix());
  expect_gradients({{x_.matrix(), gradient}}, loss);

  loss();
  for (int64_t t = 0; t < kRows; ++t) {
    double sum = 0, expected = 0, named = 0;
    for (int64_t c = 0; c < kCols; ++c) sum += std::exp(double{x_.matrix().row(t)[c]});
    for (auto i = static_cast<size_t>(t * kEntries); i < static_cast<size_t>((t + 1) * kEntries); ++i) {
      if (tokens[i] < 0) continue;
      const double log_q = x_.matrix().row(t)[tokens[i]] - std::log(sum);
      if (probs[i] > 0) expected += probs[i] * (std::log(probs[i]) - log_q);
      named += std::exp(log_q);
    }
    expected += 0.25 * std::log(0.25 / (1 - named));
    EXPECT_NEAR(losses[static_cast<size_t>(t)], expected, 1e-5);
  }

  // The distribution itself has neither a divergence nor a gradient.
  std::vector<float> logits = {0.0f, std::log(2.0f), std::log(5.0f)}, own = {0.125f, 0.25f, 0.625f};
  const std::vector<int32_t> all = {0, 1, 2};
  ref_->divergence(as_row(logits), {3, all.data(), own.data()}, losses.data());
  EXPECT_NEAR(losses[0], 0, 1e-7);
  for (const float d : logits) EXPECT_NEAR(d, 0, 1e-7);
}

// Of a size, and (size 0) of each value's own magnitude.
TEST_F(Backward, Adam) {
  for (const float size : {0.0f, 0.25f}) {
    std::vector<float> values = {1.0f, -2.0f, 0.5f, 4.0f}, m(4), v(4);
    Numbers expected(values.begin(), values.end()), mean(4), square(4);
    for (int step = 1; step <= 5; ++step) {
      const std::vector<float> gradients = {0.1f * static_cast<float>(step), -3.0f, step == 2 ? -1.0f : 1.0f, 0.0f};
      const auto beta1 = 0.9f, beta2 = 0.95f;
      const AdamArgs args{0.01f,
                          size,
                          beta1,
                          beta2,
                          static_cast<float>(1 - std::pow(beta1, step)),
                          static_cast<float>(1 - std::pow(beta2, step))};
      ref_->adam(args, 4, gradients.data(), m.data(), v.data(), values.data());
      for (size_t i = 0; i < 4; ++i) {
        mean[i] = 0.9 * mean[i] + 0.1 * gradients[i];
        square[i] = 0.95 * square[i] + 0.05 * gradients[i] * gradients[i];
        if (square[i] == 0) continue;
        const double unit = mean[i] / (1 - std::pow(0.9, step)) / std::sqrt(square[i] / (1 - std::pow(0.95, step)));
        expected[i] -= 0.01 * (size > 0 ? size : std::abs(expected[i])) * unit;
        EXPECT_NEAR(values[i], expected[i], 2e-6) << step;
        // The first step goes all its length against the gradient.
        const double from[] = {1.0, -2.0, 0.5, 4.0};
        if (step == 1) {
          const double length = 0.01 * (size > 0 ? size : std::abs(from[i]));
          EXPECT_NEAR(values[i], from[i] - std::copysign(length, gradients[i]), 1e-6);
        }
      }
      EXPECT_EQ(values[3], 4.0f);  // never had a gradient
    }
  }
}

}  // namespace
}  // namespace steelyard::compute
