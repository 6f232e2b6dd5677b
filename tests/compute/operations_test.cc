// Every operation of the cpu backend against the reference, over awkward shapes: one row, rows around the limits
// between paths, widths that no vector divides, strided views.
#include <cmath>

#include "base/error.h"
#include "compute/activations.h"
#include "support.h"

namespace steelyard::compute {
namespace {

struct Shape {
  int64_t rows, cols;
};

class Operations : public testing::TestWithParam<Shape> {
 protected:
  // Both backends work on their own copy of the same activations; returns (cpu, ref).
  template <typename Work>
  void compare(float tolerance, float sigma, const Work& work) {
    const auto [rows, cols] = GetParam();
    Activations found(rows, cols, 1, 5, sigma), expected(rows, cols, 1, 5, sigma);
    work(*cpu_, found.matrix());
    work(*ref_, expected.matrix());
    expect_close(found.matrix(), expected.matrix(), tolerance);
    EXPECT_TRUE(found.untouched_outside());
    EXPECT_TRUE(expected.untouched_outside());
  }

  const std::unique_ptr<Backend> cpu_ = make_backend("cpu"), ref_ = make_backend("ref");
};

std::string name_of(const testing::TestParamInfo<Shape>& info) {
  return std::to_string(info.param.rows) + "x" + std::to_string(info.param.cols);
}

INSTANTIATE_TEST_SUITE_P(Shapes, Operations,
                         testing::Values(Shape{1, 1}, Shape{1, 64}, Shape{3, 15}, Shape{8, 16}, Shape{9, 17},
                                         Shape{17, 31}, Shape{65, 33}, Shape{2, 300}, Shape{65, 513}),
                         name_of);

TEST_P(Operations, RmsNorm) {
  Activations weight(1, GetParam().cols, 2, 0);
  for (const float* gains : {static_cast<const float*>(weight.matrix().data), static_cast<const float*>(nullptr)}) {
    for (const float sigma : {1e-6f, 1.0f, 1e4f}) {
      const auto norm = [&](Backend& backend, Matrix x) { backend.rms_norm(x, gains, 1e-5f, x); };
      compare(2e-6f, sigma, norm);
    }
  }
}

TEST_P(Operations, RmsNormIntoAnotherMatrix) {
  const auto [rows, cols] = GetParam();
  Activations weight(1, cols, 2, 0), x(rows, cols, 3), y(rows, cols, 4, 9), same(rows, cols, 3);
  cpu_->rms_norm(x.matrix(), weight.matrix().data, 1e-5f, y.matrix());
  EXPECT_TRUE(identical(x.matrix(), same.matrix()));
  cpu_->rms_norm(x.matrix(), weight.matrix().data, 1e-5f, x.matrix());
  EXPECT_TRUE(identical(x.matrix(), y.matrix()));
  EXPECT_TRUE(y.untouched_outside());
}

TEST_P(Operations, AddCopyAndAddRow) {
  const auto [rows, cols] = GetParam();
  Activations other(rows, cols, 2, 3);
  compare(0.0f, 1.0f, [&](Backend& backend, Matrix x) { backend.add(x, other.matrix()); });
  compare(0.0f, 1.0f, [&](Backend& backend, Matrix x) { backend.add_row(x, other.matrix().data); });
  compare(0.0f, 1.0f, [&](Backend& backend, Matrix x) { backend.copy(other.matrix(), x); });
}

TEST_P(Operations, Gated) {
  const auto [rows, cols] = GetParam();
  Activations up(rows, cols, 2, 3, 5.0f);
  for (const Activation& activation : all_activations()) {
    for (const float sigma : {1e-3f, 1.0f, 30.0f, 1e7f}) {
      compare(1e-6f, sigma, [&](Backend& backend, Matrix gate) { backend.gated(activation, gate, up.matrix()); });
    }
  }
}

TEST_P(Operations, ScaleAndSoftcap) {
  compare(0.0f, 1.0f, [&](Backend& backend, Matrix x) { backend.scale(x, 0.7f); });
  for (const float sigma : {0.1f, 30.0f, 1e7f}) {
    compare(1e-6f, sigma, [&](Backend& backend, Matrix x) { backend.softcap(x, 30.0f); });
  }
}

TEST_P(Operations, AddRowOfExperts) {
  const auto [rows, cols] = GetParam();
  RoutingMemory routing(rows, 2, 5);
  fill_randomly(routing.get(), 6);
  const int64_t n_slots = routing.get().n_slots();
  Activations bias(5, cols, 1, 0);
  for (Backend* backend : {cpu_.get(), ref_.get()}) {
    Activations y(n_slots, cols, 2), before(n_slots, cols, 2);
    backend->add_row_experts(y.matrix(), bias.matrix().data, routing.get());
    for (int64_t slot = 0; slot < n_slots; ++slot) {
      const int64_t row = routing.get().row[slot], expert = routing.get().expert[slot];
      for (int64_t c = 0; c < cols; ++c) {
        ASSERT_EQ(y.matrix().row(row)[c], before.matrix().row(row)[c] + bias.matrix().row(expert)[c]);
      }
    }
    EXPECT_TRUE(y.untouched_outside());
  }
}

TEST_P(Operations, SumSquares) {
  const auto [rows, cols] = GetParam();
  Activations x(rows, cols, 1);
  std::vector<double> found(static_cast<size_t>(cols), 0.5), expected = found;
  for (int pass = 0; pass < 2; ++pass) {  // sums accumulate
    cpu_->sum_squares(x.matrix(), found.data());
    ref_->sum_squares(x.matrix(), expected.data());
  }
  EXPECT_EQ(found, expected);  // double, and the same order of addition
  EXPECT_GT(found[0], 0.5);
}

TEST_P(Operations, SecondMoments) {
  const auto [rows, cols] = GetParam();
  Activations x(rows, cols, 1), other(rows, cols, 2);
  for (const Matrix y : {x.matrix(), other.matrix()}) {
    std::vector<float> found(static_cast<size_t>(cols * cols), 0.5f), expected = found;
    for (int pass = 0; pass < 2; ++pass) {  // sums accumulate
      cpu_->second_moments(x.matrix(), y, found.data());
      ref_->second_moments(x.matrix(), y, expected.data());
    }
    std::vector<float> squares_x(found.size()), squares_y = squares_x;
    ref_->second_moments(x.matrix(), x.matrix(), squares_x.data());
    ref_->second_moments(y, y, squares_y.data());
    for (int64_t a = 0; a < cols; ++a) {
      for (int64_t b = 0; b < cols; ++b) {
        const double size = 1.0 + 2.0 * std::sqrt(squares_x[a * cols + a] * squares_y[b * cols + b]);
        ASSERT_NEAR(found[a * cols + b], expected[a * cols + b], 1e-5 * size) << a << " " << b;
      }
    }
  }
}

TEST_P(Operations, GatherAndCombine) {
  const auto [rows, cols] = GetParam();
  for (const int64_t n_used : {1, 3, 7}) {
    RoutingMemory routing(rows, n_used, 7);
    fill_randomly(routing.get(), 5);
    const int64_t n_slots = routing.get().n_slots();
    Activations x(rows, cols, 1), found(n_slots, cols, 2), expected(n_slots, cols, 3);
    cpu_->gather(x.matrix(), routing.get(), found.matrix());
    ref_->gather(x.matrix(), routing.get(), expected.matrix());
    EXPECT_TRUE(identical(found.matrix(), expected.matrix()));
    EXPECT_TRUE(found.untouched_outside());
    for (int64_t slot = 0; slot < n_slots; ++slot) {
      ASSERT_EQ(found.matrix().row(routing.get().row[slot])[0], x.matrix().row(slot / n_used)[0]);
    }
    compare(1e-6f, 1.0f, [&](Backend& backend, Matrix out) { backend.combine(expected.matrix(), routing.get(), out); });
  }
}

TEST_P(Operations, SumSquaresOfExperts) {
  const auto [rows, cols] = GetParam();
  RoutingMemory routing(rows, 2, 5);
  fill_randomly(routing.get(), 6);
  Activations x(routing.get().n_slots(), cols, 1);
  std::vector<double> found(static_cast<size_t>(5 * cols)), expected = found;
  std::vector<int64_t> found_counts(5, 100), expected_counts = found_counts;
  cpu_->sum_squares_experts(x.matrix(), routing.get(), found.data(), found_counts.data());
  ref_->sum_squares_experts(x.matrix(), routing.get(), expected.data(), expected_counts.data());
  EXPECT_EQ(found, expected);
  EXPECT_EQ(found_counts, expected_counts);
  EXPECT_EQ(found_counts[0], 100);  // nobody came
  int64_t sum = 0;
  for (const int64_t count : found_counts) sum += count - 100;
  EXPECT_EQ(sum, routing.get().n_slots());
}

TEST_P(Operations, SecondMomentsOfExperts) {
  const auto [rows, cols] = GetParam();
  RoutingMemory routing(rows, 2, 5);
  fill_randomly(routing.get(), 6);
  Activations x(routing.get().n_slots(), cols, 1), other(routing.get().n_slots(), cols, 2);
  for (const Matrix y : {x.matrix(), other.matrix()}) {
    std::vector<float> found(static_cast<size_t>(5 * cols * cols)), expected(static_cast<size_t>(cols * cols));
    std::vector<int64_t> counts(5, 100);
    cpu_->second_moments_experts(x.matrix(), y, routing.get(), found.data(), counts.data());
    for (int64_t e = 0; e < 5; ++e) {  // each the moments of its own rows
      const int64_t begin = routing.get().row_begin[e], n = routing.get().row_begin[e + 1] - begin;
      std::ranges::fill(expected, 0.0f);
      cpu_->second_moments(x.matrix().slice(begin, n), y.slice(begin, n), expected.data());
      ASSERT_TRUE(std::ranges::equal(expected, std::span(found).subspan(e * expected.size(), expected.size()))) << e;
      EXPECT_EQ(counts[e], 100 + n);
    }
  }
}

TEST_P(Operations, Route) {
  const auto [rows, cols] = GetParam();
  const int64_t n_used = std::min<int64_t>(3, cols);
  RoutingMemory found(rows, n_used, cols), expected(rows, n_used, cols);
  Activations logits(rows, cols, 1);
  const RouteArgs args{.gating = Gating::kSigmoid,
                       .bias = nullptr,
                       .n_used = n_used,
                       .n_group = 1,
                       .n_group_used = 1,
                       .normalize = true,
                       .scale = 2.5f};
  cpu_->route(logits.matrix(), args, found.get());
  ref_->route(logits.matrix(), args, expected.get());
  for (int64_t s = 0; s < found.get().n_slots(); ++s) {
    ASSERT_EQ(found.get().expert[s], expected.get().expert[s]);
    ASSERT_EQ(found.get().weight[s], expected.get().weight[s]);
    ASSERT_EQ(found.get().row[s], expected.get().row[s]);
  }
}

TEST_P(Operations, Rope) {
  const auto [rows, cols] = GetParam();
  for (const int64_t n_head : {1, 3}) {
    const int64_t head = cols / n_head, n_dims = head / 2 * 2;
    if (n_dims == 0) continue;
    for (const int64_t n : {n_dims, n_dims / 4 * 2}) {  // whole heads, and about half of each
      Activations cos(3 * rows + 7, n / 2, 8, 0), sin(3 * rows + 7, n / 2, 9, 0);
      for (const RopePairs pairs : {RopePairs::kNorm, RopePairs::kNeox}) {
        RopeArgs args{n_head, head, n, pairs, cos.matrix().data, sin.matrix().data, 7};
        compare(1e-6f, 1.0f, [&](Backend& backend, Matrix x) { backend.rope(x, args); });
        args.first_position = 1;
        args.step = 3;
        compare(1e-6f, 1.0f, [&](Backend& backend, Matrix x) { backend.rope(x, args); });
      }
    }
  }
}

// There need be no values beside a gate that is squared.
TEST_P(Operations, ReluSquaredAlone) {
  compare(1e-6f, 1.0f, [&](Backend& backend, Matrix gate) { backend.gated(Activation::kReluSquared, gate, {}); });
}

// The activations at points with known values: gelu(1) and gelu(-1) of the tanh form, all limits.
TEST(Activations, KnownValues) {
  const auto at = [](Activation activation, float gate, float up) {
    make_backend("ref")->gated(activation, {&gate, 1, 1, 1}, {&up, 1, 1, 1});
    return gate;
  };
  EXPECT_NEAR(at(Activation::kSwiglu, 1, 2), 2 / (1 + std::exp(-1.0)), 1e-6);
  EXPECT_NEAR(at(Activation::kGeglu, 1, 1), 0.841192, 1e-6);
  EXPECT_NEAR(at(Activation::kGeglu, -1, 2), -0.317616, 1e-6);
  EXPECT_NEAR(at(Activation::kClampedSwiglu, 9, 8), 7 / (1 + std::exp(-1.702 * 7)) * 8, 1e-5);
  EXPECT_NEAR(at(Activation::kClampedSwiglu, -9, -8), -9 / (1 + std::exp(1.702 * 9)) * -6, 1e-9);
  const auto silu = [](double z) { return z / (1 + std::exp(-z)); };
  const Activation limited{Activation::kSwiglu, 3}, capped{Activation::kCappedSwiglu, 3};
  EXPECT_NEAR(at(limited, 2, -1), -silu(2), 1e-6);
  EXPECT_NEAR(at(limited, 9, 8), silu(3) * 3, 1e-5);
  EXPECT_NEAR(at(limited, -9, -8), silu(-9) * -3, 1e-9);
  EXPECT_NEAR(at(capped, 3, -1), -silu(3), 1e-6);  // silu(3) < 3
  EXPECT_NEAR(at(capped, 9, 8), 3 * 3, 1e-5);
  EXPECT_NEAR(at(capped, -9, -8), silu(-9) * -3, 1e-9);
  EXPECT_NEAR(at({Activation::kSitu, 4}, 2, 30), 4 * std::tanh(0.5) / (1 + std::exp(-2.0)) * 30, 1e-5);
  EXPECT_NEAR(at({Activation::kSitu, 4, 25}, -2, 30), -4 * std::tanh(0.5) / (1 + std::exp(2.0)) * 25 * std::tanh(1.2),
              1e-5);
  EXPECT_EQ(at(Activation::kReluSquared, 3, 7), 9);
  EXPECT_EQ(at(Activation::kReluSquared, -3, 7), 0);
  EXPECT_EQ(at(Activation::kProduct, -3, 7), -21);
}

}  // namespace
}  // namespace steelyard::compute
