// Every instruction set gives the same bits, and the bits are right; results do not depend on the number of threads.
#include "compute/cpu/kernels.h"

#include <numbers>

#include "base/parallel.h"
#include "compute/activations.h"
#include "support.h"

namespace steelyard::compute::cpu {
namespace {

std::vector<const Kernels*> all_supported() {
  std::vector<const Kernels*> sets;
  for (const simd::Target target : simd::supported_targets()) sets.push_back(&kernels(target));
  return sets;
}

class Kernel : public testing::TestWithParam<const Kernels*> {
 protected:
  // All bits of `values`.
  static std::string bits(const std::vector<float>& values) {
    return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
  }
  static std::vector<float> random(int64_t n, uint32_t seed, float sigma = 1.0f) {
    Activations x(1, n, seed, 0, sigma);
    return {x.matrix().data, x.matrix().data + n};
  }

  const Kernels& tested_ = *GetParam();
  const Kernels& scalar_ = *all_supported().back();
};

INSTANTIATE_TEST_SUITE_P(Target, Kernel, testing::ValuesIn(all_supported()),
                         [](const auto& instance) { return std::string(instance.param->target); });

constexpr int64_t kLengths[] = {1, 2, 15, 16, 17, 31, 32, 33, 47, 64, 100, 511, 1024};

TEST_P(Kernel, Dot) {
  for (const int64_t n : kLengths) {
    const auto a = random(n, 1), b = random(n, 2);
    const float found = tested_.dot(a.data(), b.data(), n);
    double expected = 0, magnitude = 0;
    for (int64_t i = 0; i < n; ++i) {
      expected += static_cast<double>(a[i]) * b[i];
      magnitude += std::abs(static_cast<double>(a[i]) * b[i]);
    }
    EXPECT_NEAR(found, expected, 1e-6 * magnitude);
    EXPECT_EQ(found, scalar_.dot(a.data(), b.data(), n)) << n;
  }
}

TEST_P(Kernel, LargestAndExponentials) {
  for (const float sigma : {1e-3f, 1.0f, 40.0f, 1e7f, 1e30f}) {
    for (const int64_t n : kLengths) {
      const auto x = random(n, 1, sigma);
      const float max = *std::max_element(x.begin(), x.end());
      EXPECT_EQ(tested_.largest(x.data(), n), max);
      auto found = x, same = x;
      const float sum = tested_.exponentials(found.data(), n, max);
      EXPECT_EQ(sum, scalar_.exponentials(same.data(), n, max));
      EXPECT_EQ(bits(found), bits(same));
      double expected_sum = 0;
      for (int64_t i = 0; i < n; ++i) {
        const double expected = std::exp(static_cast<double>(x[i] - max));
        EXPECT_NEAR(found[i], expected, 1e-6 * expected + 1e-37) << x[i];
        expected_sum += found[i];
      }
      EXPECT_NEAR(sum, expected_sum, 1e-5 * expected_sum);
    }
  }
}

TEST_P(Kernel, Scale) {
  for (const int64_t n : kLengths) {
    auto found = random(n, 1), same = found;
    tested_.scale(found.data(), n, 0.3f);
    for (float& value : same) value *= 0.3f;
    EXPECT_EQ(bits(found), bits(same));
  }
}

// Every activation against its formula in double, and the same bits on every instruction set.
TEST_P(Kernel, GatedActivations) {
  const auto check = [&](auto kernel, float relative, const auto& formula) {
    for (const float sigma : {1e-3f, 1.0f, 40.0f, 1e7f, 1e30f}) {
      for (const int64_t n : kLengths) {
        const auto gate = random(n, 1, sigma), up = random(n, 2, 5.0f);
        auto found = gate, same = gate;
        (tested_.*kernel)(found.data(), up.data(), n);
        (scalar_.*kernel)(same.data(), up.data(), n);
        EXPECT_EQ(bits(found), bits(same));
        for (int64_t i = 0; i < n; ++i) {
          const double expected = formula(gate[i], up[i]);
          EXPECT_NEAR(found[i], expected, relative * std::abs(expected) + 1e-30) << gate[i] << " " << up[i];
        }
      }
    }
  };
  check(&cpu::Kernels::swiglu, 1e-6f, [](double g, double u) { return g / (1.0 + std::exp(-g)) * u; });
  // Where gelu is all but 0 its exponent is large, and so are the exponent's rounding errors.
  check(&cpu::Kernels::geglu, 2e-5f, [](double g, double u) {
    return g / (1.0 + std::exp(-2 * std::sqrt(2 / std::numbers::pi) * (g + 0.044715 * g * g * g))) * u;
  });
  check(&cpu::Kernels::clamped_swiglu, 2e-5f, [](double g, double u) {
    g = std::min(g, 7.0);
    return g / (1.0 + std::exp(-1.702 * g)) * (std::clamp(u, -7.0, 7.0) + 1.0);
  });
}

// Those with limits, and softcap; backwards they are compared with the reference (backward_cpu_test.cc).
TEST_P(Kernel, LimitedActivations) {
  const auto check = [&](cpu::LimitedKernels cpu::Kernels::*kernels, float limit, float up_limit, const auto& formula) {
    for (const float sigma : {1e-3f, 1.0f, 40.0f, 1e15f}) {
      for (const int64_t n : kLengths) {
        const auto gate = random(n, 1, sigma), up = random(n, 2, 5.0f), d = random(n, 3);
        auto found = gate, same = gate;
        (tested_.*kernels).apply(found.data(), up.data(), n, limit, up_limit);
        (scalar_.*kernels).apply(same.data(), up.data(), n, limit, up_limit);
        EXPECT_EQ(bits(found), bits(same));
        for (int64_t i = 0; i < n; ++i) {
          const double expected = formula(gate[i], up[i]);
          EXPECT_NEAR(found[i], expected, 1e-6f * std::abs(expected) + 1e-30) << gate[i] << " " << up[i];
        }
        auto d_found = d, d_same = d, dup_found = random(n, 4), dup_same = dup_found;
        (tested_.*kernels).backward(gate.data(), up.data(), d_found.data(), dup_found.data(), n, limit, up_limit);
        (scalar_.*kernels).backward(gate.data(), up.data(), d_same.data(), dup_same.data(), n, limit, up_limit);
        EXPECT_EQ(bits(d_found), bits(d_same));
        EXPECT_EQ(bits(dup_found), bits(dup_same));
      }
    }
  };
  const auto silu = [](double z) { return z / (1.0 + std::exp(-z)); };
  check(&cpu::Kernels::limited_swiglu, 2.5f, 0,
        [&](double g, double u) { return silu(std::min(g, 2.5)) * std::clamp(u, -2.5, 2.5); });
  check(&cpu::Kernels::capped_swiglu, 2.5f, 0,
        [&](double g, double u) { return std::min(silu(g), 2.5) * std::clamp(u, -2.5, 2.5); });
  for (const double m : {0.0, 3.0}) {
    check(&cpu::Kernels::situ, 1.5f, static_cast<float>(m), [&](double g, double u) {
      return 1.5 * std::tanh(g / 1.5) / (1.0 + std::exp(-g)) * (m > 0 ? m * std::tanh(u / m) : u);
    });
  }
  check(&cpu::Kernels::product, 0, 0, [](double g, double u) { return g * u; });
  check(&cpu::Kernels::relu_squared, 0, 0, [](double g, double) { return g > 0 ? g * g : 0.0; });
}

TEST_P(Kernel, Softcap) {
  for (const float sigma : {1e-30f, 1e-3f, 0.5f, 5.0f, 40.0f, 1e30f}) {
    for (const int64_t n : kLengths) {
      const auto x = random(n, 1, sigma);
      auto found = x, same = x;
      tested_.softcap(found.data(), n, 1.5f);
      scalar_.softcap(same.data(), n, 1.5f);
      EXPECT_EQ(bits(found), bits(same));
      for (int64_t i = 0; i < n; ++i) {
        const double expected = 1.5 * std::tanh(x[i] / 1.5);
        EXPECT_NEAR(found[i], expected, 1e-6f * std::abs(expected)) << x[i];
      }
    }
  }
}

// Zeros, the smallest and largest numbers, infinities: nothing traps, all sets agree.
TEST_P(Kernel, ExtremeValues) {
  const std::vector<float> extremes = {0.0f,   -0.0f,  1e-45f,    -1e-45f, 1e-38f,  3.4e38f, -3.4e38f,
                                       -87.0f, -87.5f, -88.0f,    -9e6f,   -1.2e7f, -1.3e7f, -1e9f,
                                       88.0f,  1e9f,   -INFINITY, 2.0f,    -2.0f};
  std::vector<float> x;  // whole vectors and a tail
  while (x.size() < 2 * extremes.size() + 3) x.push_back(extremes[x.size() % extremes.size()]);
  const auto n = static_cast<int64_t>(x.size());
  const std::vector<float> ones(x.size(), 1.0f);
  auto found = x, same = x;
  tested_.swiglu(found.data(), ones.data(), n);
  scalar_.swiglu(same.data(), ones.data(), n);
  for (size_t i = 0; i < x.size(); ++i) {
    EXPECT_TRUE(found[i] == same[i] || (std::isnan(found[i]) && std::isnan(same[i]))) << x[i];
    EXPECT_TRUE(!std::isfinite(x[i]) || std::isfinite(found[i])) << x[i];
  }
  found = same = x;
  EXPECT_EQ(tested_.exponentials(found.data(), n, 3.4e38f), scalar_.exponentials(same.data(), n, 3.4e38f));
  EXPECT_EQ(bits(found), bits(same));
  EXPECT_EQ(found[5], 1.0f);  // the maximum
}

TEST_P(Kernel, AddSquares) {
  for (const int64_t n : kLengths) {
    const auto x = random(n, 1);
    std::vector<double> found(static_cast<size_t>(n), 0.25), expected = found;
    tested_.add_squares(x.data(), found.data(), n);
    for (int64_t i = 0; i < n; ++i) expected[i] += static_cast<double>(x[i]) * x[i];
    EXPECT_EQ(found, expected);
  }
}

TEST_P(Kernel, AddScaled) {
  for (const int64_t n : kLengths) {
    const auto x = random(n, 1);
    auto found = random(n, 2), expected = found;
    tested_.add_scaled(x.data(), 0.3f, found.data(), n);
    for (int64_t i = 0; i < n; ++i) expected[i] += 0.3f * x[i];
    EXPECT_EQ(bits(found), bits(expected));
  }
}

TEST(Kernels, AreThoseOfTheirSet) {
  for (const simd::Target target : simd::supported_targets())
    EXPECT_EQ(kernels(target).target, simd::target_name(target));
}

// The order of addition belongs to a column or an expert, never to a thread.
TEST(Threads, DoNotChangeSums) {
  const int before = omp_get_max_threads();
  const auto backend = make_backend("cpu");
  Activations x(65, 1000, 1);
  RoutingMemory routing(65, 1, 4);
  fill_randomly(routing.get(), 2);
  std::vector<double> first, first_experts;
  for (const int threads : {1, 2, 3, 7}) {
    set_thread_count(threads);
    std::vector<double> sums(1000), expert_sums(4000);
    std::vector<int64_t> counts(4);
    backend->sum_squares(x.matrix(), sums.data());
    backend->sum_squares_experts(x.matrix(), routing.get(), expert_sums.data(), counts.data());
    if (threads == 1) {
      first = sums;
      first_experts = expert_sums;
    }
    EXPECT_EQ(sums, first) << threads;
    EXPECT_EQ(expert_sums, first_experts) << threads;
  }
  set_thread_count(before);
}

}  // namespace
}  // namespace steelyard::compute::cpu
