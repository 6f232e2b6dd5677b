// Products against plain loops: the same bits, because the order of every sum is part of what multiply() promises.
#include "quantize/products.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <random>
#include <vector>

namespace steelyard::quantize {
namespace {

std::vector<float> random_values(int64_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(n));
  for (float& value : values) value = normal(random);
  return values;
}

TEST(Products, SumsAreTakenInRunsOfTheDepth) {
  struct Shape {
    int64_t m, n, depth;
  };
  for (const auto& [m, n, depth] : {Shape{1, 32, 32}, {13, 40, 7}, {30, 96, 700}, {5, 33, 1361}}) {
    const std::vector<float> a = random_values(m * depth, 1), b = random_values(depth * n, 2);
    std::vector<float> c(static_cast<size_t>(m * n), 1e30f);  // what was there before does not count
    multiply(m, n, depth, a.data(), b.data(), c.data());
    const int64_t run = run_length(depth);
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        float value = 0.0f;
        for (int64_t begin = 0; begin < depth; begin += run) {
          float sum = 0.0f;
          for (int64_t k = begin; k < std::min(begin + run, depth); ++k) {
            const float product = a[static_cast<size_t>(i * depth + k)] * b[static_cast<size_t>(k * n + j)];
            sum += product;
          }
          value = begin == 0 ? sum : value + sum;
        }
        ASSERT_EQ(c[static_cast<size_t>(i * n + j)], value)
            << m << " x " << n << " x " << depth << ": " << i << ", " << j;
      }
    }
  }
}

TEST(Products, RunsAreEvenAndNoLongerThanACacheAllows) {
  EXPECT_EQ(run_length(1), 1);
  EXPECT_EQ(run_length(680), 680);
  EXPECT_EQ(run_length(1360), 680);
  for (int64_t depth = 681; depth < 20000; depth += 37) {
    const int64_t run = run_length(depth), n = (depth + run - 1) / run;
    EXPECT_LE(run, 680) << depth;
    EXPECT_EQ(n, (depth + 679) / 680) << depth;
    EXPECT_LT(n * run - depth, 8 * n + 8) << depth;
  }
}

}  // namespace
}  // namespace steelyard::quantize
