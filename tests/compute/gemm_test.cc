// Panels, for every target of this processor: products of odd shapes, exact integer sums, codes.
#include "compute/cpu/gemm.h"

#include "compute/activations.h"
#include "support.h"

namespace steelyard::compute::cpu {
namespace {

class Panels : public testing::TestWithParam<simd::Target> {
 protected:
  const Gemm& gemm_ = gemm(GetParam());
};

INSTANTIATE_TEST_SUITE_P(Target, Panels,
                         testing::ValuesIn(simd::supported_targets().begin(), simd::supported_targets().end()),
                         [](const auto& instance) { return std::string(simd::target_name(instance.param)); });

TEST_P(Panels, Products) {
  for (const int64_t m : {1, 2, 3, 5, 6, 7, 11, 12, 13, 70}) {
    for (const int64_t n : {1, 3, gemm_.panel - 1, gemm_.panel}) {
      for (const int64_t k : {1, 2, 5, 127, 128, 129, 300}) {
        Activations a(m, k, 1), b(n, k, 2), c(m, n, 3);
        std::vector<float> panel(static_cast<size_t>(k * gemm_.panel), NAN);
        gemm_.pack(b.matrix().data, b.matrix().stride, n, k, panel.data());
        Activations once(m, n, 4);
        for (const bool add : {false, true}) {
          gemm_.multiply(m, n, k, a.matrix().data, a.matrix().stride, panel.data(), gemm_.panel, c.matrix().data,
                         c.matrix().stride, add);
        }
        ASSERT_TRUE(c.untouched_outside());
        for (int64_t t = 0; t < m; ++t) {
          for (int64_t o = 0; o < n; ++o) {
            double sum = 0;
            for (int64_t i = 0; i < k; ++i) sum += static_cast<double>(a.matrix().row(t)[i]) * b.matrix().row(o)[i];
            ASSERT_NEAR(c.matrix().row(t)[o], 2 * sum, 4e-6 * std::sqrt(k)) << m << " " << n << " " << k;
          }
        }
      }
    }
  }
}

// The largest codes everywhere: integer sums of a block stay exact.
TEST_P(Panels, ProductsOfCodes) {
  for (const int64_t m : {1, 4, 5, 6, 12, 13, 70}) {
    for (const int64_t n : {1, gemm_.panel - 1, gemm_.panel}) {
      for (const int64_t n_blocks : {1, 3}) {
        const int64_t k = n_blocks * kCodeBlock;
        std::vector<int16_t> a(static_cast<size_t>(m * k)), b(static_cast<size_t>(n * k)),
            panel(static_cast<size_t>(gemm_.panel * k));
        for (size_t i = 0; i < a.size(); ++i) a[i] = static_cast<int16_t>(i % 7 == 3 ? -8191 : 8191);
        for (size_t i = 0; i < b.size(); ++i) b[i] = static_cast<int16_t>(i % 5 == 1 ? 17 : 4095);
        std::vector<float> a_scales(static_cast<size_t>(m * n_blocks)),
            b_scales(static_cast<size_t>(n_blocks * gemm_.panel), 0.0f);
        for (size_t i = 0; i < a_scales.size(); ++i) a_scales[i] = 0.5f + static_cast<float>(i);
        for (size_t i = 0; i < b_scales.size(); ++i) b_scales[i] = 1.0f / static_cast<float>(1 + i);
        gemm_.pack_codes(b.data(), k, n, k / 2, panel.data());
        Activations c(m, n, 3);
        gemm_.multiply_codes(m, n, n_blocks, a.data(), k, a_scales.data(), n_blocks, panel.data(), b_scales.data(),
                             c.matrix().data, c.matrix().stride, false);
        ASSERT_TRUE(c.untouched_outside());
        for (int64_t t = 0; t < m; ++t) {
          for (int64_t o = 0; o < n; ++o) {
            double expected = 0, magnitude = 0;
            for (int64_t i = 0; i < k; ++i) {
              const double scale = static_cast<double>(a_scales[static_cast<size_t>(t * n_blocks + i / kCodeBlock)]) *
                                   b_scales[static_cast<size_t>(i / kCodeBlock * gemm_.panel + o)];
              expected += scale * a[static_cast<size_t>(t * k + i)] * b[static_cast<size_t>(o * k + i)];
              magnitude += scale * 8191 * 4095;
            }
            ASSERT_NEAR(c.matrix().row(t)[o], expected, 1e-6 * magnitude);
          }
        }
      }
    }
  }
}

TEST_P(Panels, Quantize) {
  for (const int64_t n : {1, 63, 64, 65, 200}) {
    for (const float sigma : {1e-20f, 1.0f, 1e30f}) {
      Activations x(1, n, 1, 0, sigma);
      const int64_t blocks = (n + kCodeBlock - 1) / kCodeBlock;
      std::vector<int16_t> codes(static_cast<size_t>(blocks * kCodeBlock), 77);
      std::vector<float> scales(static_cast<size_t>(2 * blocks), -1.0f);
      gemm_.quantize(x.matrix().data, n, kInputCodes, codes.data(), scales.data(), 2);
      for (int64_t i = 0; i < blocks * kCodeBlock; ++i) {
        const float value = i < n ? x.matrix().data[i] : 0.0f, scale = scales[static_cast<size_t>(i / kCodeBlock * 2)];
        EXPECT_LE(std::abs(codes[static_cast<size_t>(i)]), 8191);
        EXPECT_NEAR(codes[static_cast<size_t>(i)] * scale, value, 0.51 * scale);
      }
    }
  }
}

TEST_P(Panels, WhatIsNotFiniteStaysSo) {
  for (const float bad : {NAN, INFINITY, -INFINITY}) {
    std::vector<float> x(130, 1.0f);
    x[100] = bad;
    std::vector<int16_t> codes(192);
    std::vector<float> scales(3);
    gemm_.quantize(x.data(), 130, kInputCodes, codes.data(), scales.data(), 1);
    EXPECT_TRUE(std::isfinite(scales[0]));
    EXPECT_TRUE(std::isnan(scales[1]));
    EXPECT_TRUE(std::isfinite(scales[2]));
  }
  std::vector<float> zeros(64);
  std::vector<int16_t> codes(64, 5);
  float scale = 3;
  gemm_.quantize(zeros.data(), 64, kInputCodes, codes.data(), &scale, 1);
  EXPECT_EQ(scale, 0.0f);
  EXPECT_EQ(codes, std::vector<int16_t>(64));
}

TEST_P(Panels, Dot) {
  for (const int64_t n : {1, 7, 8, 31, 32, 33, 64, 100, 1000}) {
    Activations a(1, n, 1), b(1, n, 2);
    double expected = 0;
    for (int64_t i = 0; i < n; ++i) expected += static_cast<double>(a.matrix().data[i]) * b.matrix().data[i];
    EXPECT_NEAR(gemm_.dot(a.matrix().data, b.matrix().data, n), expected, 1e-6 * std::sqrt(n)) << n;
  }
}

}  // namespace
}  // namespace steelyard::compute::cpu
