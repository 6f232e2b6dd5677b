// Tests for quantize/cholesky.
#include "quantize/cholesky.h"

#include <gtest/gtest.h>

#include <random>

#include "base/parallel.h"

namespace steelyard::quantize {
namespace {

// A a^T of random values, and something on the diagonal.
DoubleMatrix positive_definite(Eigen::Index n) {
  std::mt19937 random(1);
  std::normal_distribution<double> normal;
  DoubleMatrix values(n, n);
  for (double& value : values.reshaped()) value = normal(random);
  return values * values.transpose() + DoubleMatrix::Identity(n, n);
}

TEST(Cholesky, FactorsMatricesOfAnySize) {
  for (const Eigen::Index n : {1, 5, 128, 129, 300}) {
    const DoubleMatrix a = positive_definite(n);
    DoubleMatrix factor = a;
    ASSERT_TRUE(cholesky(factor));
    const DoubleMatrix lower = factor.triangularView<Eigen::Lower>();
    EXPECT_LT((lower * lower.transpose() - a).norm(), 1e-13 * a.norm()) << n;
    EXPECT_GT(lower.diagonal().minCoeff(), 0.0) << n;
  }
}

TEST(Cholesky, ReadsOnlyTheLowerTriangle) {
  const DoubleMatrix a = positive_definite(200);
  DoubleMatrix whole = a, half = a.triangularView<Eigen::Lower>();
  ASSERT_TRUE(cholesky(whole));
  ASSERT_TRUE(cholesky(half));
  EXPECT_EQ(DoubleMatrix(whole.triangularView<Eigen::Lower>()), DoubleMatrix(half.triangularView<Eigen::Lower>()));
}

TEST(Cholesky, ThreadsChangeNothing) {
  const int n_threads = set_thread_count(0);
  DoubleMatrix one = positive_definite(400), three = one;
  set_thread_count(1);
  ASSERT_TRUE(cholesky(one));
  set_thread_count(3);
  ASSERT_TRUE(cholesky(three));
  set_thread_count(n_threads);
  EXPECT_EQ(one, three);
}

TEST(Cholesky, RefusesWhatIsNotPositiveDefinite) {
  for (const Eigen::Index at : {0, 150, 299}) {
    DoubleMatrix a = positive_definite(300);
    a(at, at) = -1.0;
    EXPECT_FALSE(cholesky(a)) << at;
  }
}

}  // namespace
}  // namespace steelyard::quantize
