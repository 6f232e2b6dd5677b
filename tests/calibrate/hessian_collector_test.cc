// Cross-covariance: a collector's sums between two passes of the same batch, by hand for dense linears and for experts.
#include "calibrate/hessian_collector.h"

#include <gtest/gtest.h>

#include <numeric>

namespace steelyard::calibrate {
namespace {

constexpr int64_t kWidth = 3;

class Drift : public testing::Test {
 protected:
  Drift() {
    weight_.name = "w";
    weight_.n_in = kWidth;
  }

  static compute::Matrix matrix(std::vector<float>& rows) {
    return {rows.data(), static_cast<int64_t>(rows.size()) / kWidth, kWidth, kWidth};
  }
  // sum over r of (y[r] - x[r])[a] x[r][b], for rows of x and y that belong together.
  static std::vector<float> expected(const std::vector<float>& y, const std::vector<float>& x,
                                     const std::vector<std::pair<int, int>>& pairs) {
    std::vector<float> sums(kWidth * kWidth);
    for (const auto& [from, to] : pairs) {
      for (int64_t a = 0; a < kWidth; ++a) {
        for (int64_t b = 0; b < kWidth; ++b) {
          sums[a * kWidth + b] += (y[from * kWidth + a] - x[to * kWidth + a]) * x[to * kWidth + b];
        }
      }
    }
    return sums;
  }

  static std::vector<float> values(std::span<const float> of) { return {of.begin(), of.end()}; }
  static const HessianSums& in_memory(const std::shared_ptr<const SliceHessians>& hessians) {
    return dynamic_cast<const HessianSums&>(*hessians);
  }

  const std::unique_ptr<compute::Backend> backend_ = compute::make_backend("ref");
  compute::Weight weight_;
  InputRecorder originals_;
};

TEST_F(Drift, CallsPairUpInTheirOrder) {
  std::vector<float> y0 = {1, 2, 3, 4, 5, 6}, y1 = {2, 2, 2}, x0 = {1, 1, 3, 4, 4, 6}, x1 = {3, 2, 1};
  weight_.n_slices = 1;
  originals_.dense(*backend_, weight_, 0, matrix(y0));
  originals_.dense(*backend_, weight_, 0, matrix(y1));
  HessianCollector collector({"w"}, &originals_);
  collector.dense(*backend_, weight_, 0, matrix(x0));
  collector.dense(*backend_, weight_, 0, matrix(x1));
  const auto taken = collector.take(*backend_);
  std::vector<float> sums = expected(y0, x0, {{0, 0}, {1, 1}});
  const std::vector<float> more = expected(y1, x1, {{0, 0}});
  for (size_t i = 0; i < sums.size(); ++i) sums[i] += more[i];
  EXPECT_EQ(values(in_memory(taken.at("w")).cross_covariance()), sums);
  EXPECT_EQ(taken.at("w")->count(0), 3);
}

TEST_F(Drift, ExpertsPairUpByToken) {
  // Expert 0 had tokens 0, 2, 3 and has 0, 3; expert 1 had 1 and has 1, 2. The input of token 2 counts as unmoved.
  std::vector<float> y = {1, 0, 0, 2, 0, 0, 3, 0, 0, 4, 5, 6}, x = {1, 1, 0, 3, 0, 1, 4, 4, 6, 7, 7, 7};
  std::vector<int32_t> y_token = {0, 2, 3, 1}, y_begin = {0, 3, 4}, x_token = {0, 3, 1, 2}, x_begin = {0, 2, 4};
  compute::Routing before{
      .n_tokens = 4, .n_used = 1, .n_expert = 2, .token = y_token.data(), .row_begin = y_begin.data()};
  compute::Routing after{
      .n_tokens = 4, .n_used = 1, .n_expert = 2, .token = x_token.data(), .row_begin = x_begin.data()};
  weight_.n_slices = 2;
  originals_.experts(*backend_, weight_, matrix(y), before);
  HessianCollector collector({}, &originals_);
  collector.experts(*backend_, weight_, matrix(x), after);
  const auto taken = collector.take(*backend_);
  std::vector<float> sums = expected(y, x, {{0, 0}, {2, 1}});
  const std::vector<float> second = expected(y, x, {{3, 2}});
  sums.insert(sums.end(), second.begin(), second.end());
  EXPECT_EQ(values(in_memory(taken.at("w")).cross_covariance()), sums);
  EXPECT_EQ(taken.at("w")->count(0), 2);
  EXPECT_EQ(taken.at("w")->count(1), 2);
}

TEST_F(Drift, OnlyWhatWasAskedForIsCollected) {
  std::vector<float> x = {1, 2, 3};
  weight_.n_slices = 1;
  HessianCollector others({"v"}, &originals_), all;
  others.dense(*backend_, weight_, 0, matrix(x));
  all.dense(*backend_, weight_, 0, matrix(x));
  EXPECT_TRUE(others.take(*backend_).empty());
  const auto taken = all.take(*backend_);
  EXPECT_TRUE(in_memory(taken.at("w")).cross_covariance().empty());  // nothing to compare with
  EXPECT_EQ(values(in_memory(taken.at("w")).sums()), (std::vector<float>{1, 2, 3, 2, 4, 6, 3, 6, 9}));
}

TEST_F(Drift, ABrokenBatchIsForgotten) {
  std::vector<float> y = {1, 2, 3};
  weight_.n_slices = 1;
  originals_.dense(*backend_, weight_, 0, matrix(y));
  originals_.end_batch(*backend_, false);
  EXPECT_FALSE(originals_.next("w", 0).has_value());
  originals_.dense(*backend_, weight_, 0, matrix(y));
  originals_.end_batch(*backend_, true);
  EXPECT_TRUE(originals_.next("w", 0).has_value());
}

}  // namespace
}  // namespace steelyard::calibrate
