// Estimates and percentiles against numbers worked out by hand.
#include "evaluate/statistics.h"

#include <gtest/gtest.h>

#include <cmath>

#include "evaluate/divergence.h"
#include "evaluate/expert_recorder.h"

namespace steelyard::evaluate {
namespace {

TEST(Statistics, MeanAndStandardError) {
  const std::vector<double> values{1, 2, 3, 6};  // mean 3, squares of differences 4 1 0 9
  EXPECT_DOUBLE_EQ(mean_estimate(values).mean, 3);
  EXPECT_DOUBLE_EQ(mean_estimate(values).standard_error, std::sqrt(14.0 / 4 / 3));
  EXPECT_EQ(mean_estimate(std::vector<double>{5}).standard_error, 0);
  EXPECT_EQ(mean_estimate({}).mean, 0);
}

// Values far from zero keep their spread.
TEST(Statistics, VarianceSurvivesALargeMean) {
  const std::vector<double> values{1e9 + 1, 1e9 + 2, 1e9 + 3, 1e9 + 6};
  EXPECT_NEAR(mean_estimate(values).standard_error, std::sqrt(14.0 / 4 / 3), 1e-6);
}

TEST(Statistics, Covariance) {
  const std::vector<double> a{1, 2, 3}, b{2, 4, 6}, c{6, 4, 2};
  EXPECT_DOUBLE_EQ(mean_covariance(a, b), 4.0 / 3 / 2);
  EXPECT_DOUBLE_EQ(mean_covariance(a, c), -4.0 / 3 / 2);
}

TEST(Statistics, Shares) {
  EXPECT_DOUBLE_EQ(share_estimate(3, 4).mean, 0.75);
  EXPECT_DOUBLE_EQ(share_estimate(3, 4).standard_error, std::sqrt(0.75 * 0.25 / 3));
  const Interval wilson = wilson_interval(1, 2);  // llama-perplexity prints 9.4531 % to 90.5469 %
  EXPECT_NEAR(wilson.low, 0.094531, 1e-6);
  EXPECT_NEAR(wilson.high, 0.905469, 1e-6);
  EXPECT_EQ(wilson_interval(0, 3).low, 0);
}

TEST(Statistics, PercentilesInterpolate) {
  const Percentiles values({4, 1, 3, 2});
  EXPECT_EQ(values.at(0), 1);
  EXPECT_EQ(values.at(1), 4);
  EXPECT_DOUBLE_EQ(values.at(0.5), 2.5);
  EXPECT_DOUBLE_EQ(values.at(0.1), 1.3);
  EXPECT_EQ(Percentiles({}).at(0.5), 0);
}

TEST(Statistics, DivergenceOfEqualModels) {
  const std::vector<TokenScore> scores{{1, 1, 0, 0, 1}, {2, 2, 0, 0, 1}, {4, 4, 0, 0, 1}};
  const DivergenceResult result = divergence(scores);
  EXPECT_EQ(result.ratio.mean, 1);
  EXPECT_EQ(result.ratio.standard_error, 0);
  EXPECT_NEAR(result.correlation, 1, 1e-12);
  EXPECT_EQ(result.rms_delta_p.mean, 0);
  EXPECT_EQ(result.rms_delta_p.standard_error, 0);
  EXPECT_EQ(result.same_top.mean, 1);
}

TEST(Statistics, RouterAgreement) {
  std::vector<RouterCounts> counts(2);
  const std::vector<uint16_t> a{1, 5, 2, 7}, b{1, 6, 2, 7};
  count_agreement(a, b, counts);
  count_agreement(a, a, counts);
  EXPECT_EQ(counts[0].n_same, 1);
  EXPECT_EQ(counts[1].n_same, 2);
  EXPECT_DOUBLE_EQ(counts[0].overlap(2), 0.75);
  EXPECT_DOUBLE_EQ(counts[1].overlap(2), 1);
  EXPECT_DOUBLE_EQ(counts[0].same().mean, 0.5);
}

}  // namespace
}  // namespace steelyard::evaluate
