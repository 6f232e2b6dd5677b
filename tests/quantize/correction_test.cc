// Correction against least squares by hand: a row that reads changed inputs comes nearest to its original outputs.
#include "quantize/correction.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "quantize/ldlq.h"

namespace steelyard::quantize {
namespace {

constexpr int64_t kColumns = 12, kRows = 5, kTokens = 200;

struct Inputs {
  std::vector<float> y, x;                       // [kTokens, kColumns]: before and after they moved
  std::vector<float> hessian, cross_covariance;  // means of x x^T and (y - x) x^T
  std::vector<float> rows;                       // [kRows, kColumns]
};

Inputs inputs() {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  Inputs in;
  for (int64_t i = 0; i < kTokens * kColumns; ++i) in.y.push_back(normal(random));
  // Half of each value goes over to its neighbour, with noise: much of that can be undone.
  for (int64_t i = 0; i < kTokens * kColumns; ++i) {
    const int64_t next = i / kColumns * kColumns + (i + 1) % kColumns;
    in.x.push_back(0.7f * in.y[static_cast<size_t>(i)] + 0.3f * in.y[static_cast<size_t>(next)] +
                   0.1f * normal(random));
  }
  in.hessian.resize(kColumns * kColumns);
  in.cross_covariance = in.hessian;
  for (int64_t t = 0; t < kTokens; ++t) {
    const float *y = &in.y[t * kColumns], *x = &in.x[t * kColumns];
    for (int64_t a = 0; a < kColumns; ++a) {
      for (int64_t b = 0; b < kColumns; ++b) {
        in.hessian[a * kColumns + b] += x[a] * x[b] / kTokens;
        in.cross_covariance[a * kColumns + b] += (y[a] - x[a]) * x[b] / kTokens;
      }
    }
  }
  for (int64_t i = 0; i < kRows * kColumns; ++i) in.rows.push_back(normal(random));
  return in;
}

// Mean over tokens and rows of |W y - Q x|^2.
double lost(const Inputs& in, const std::vector<float>& q) {
  double sum = 0.0;
  for (int64_t t = 0; t < kTokens; ++t) {
    for (int64_t r = 0; r < kRows; ++r) {
      double difference = 0.0;
      for (int64_t i = 0; i < kColumns; ++i) {
        difference += static_cast<double>(in.rows[r * kColumns + i]) * in.y[t * kColumns + i] -
                      static_cast<double>(q[r * kColumns + i]) * in.x[t * kColumns + i];
      }
      sum += difference * difference;
    }
  }
  return sum / (kTokens * kRows);
}

TEST(Correction, IsLeastSquaresOfTheOldOutputsOnTheMovedInputs) {
  const Inputs in = inputs();
  const std::vector<float> linear_term = compute_linear_term(in.rows, in.cross_covariance, kColumns);
  const std::vector<float> best = Correction(in.hessian, kColumns, 0.0).corrected(in.rows, linear_term);
  const double least = lost(in, best);
  EXPECT_LT(least, 0.3 * lost(in, in.rows));
  for (size_t i = 0; i < best.size(); ++i) {
    for (const float step : {-0.02f, 0.02f}) {
      std::vector<float> other = best;
      other[i] += step;
      EXPECT_GT(lost(in, other), least);
    }
  }
}

TEST(Correction, ErrorOfOutputsDiffersByAConstant) {
  const Inputs in = inputs();
  const std::vector<float> linear_term = compute_linear_term(in.rows, in.cross_covariance, kColumns);
  std::vector<float> q = in.rows;
  const double before = lost(in, q),
               known = output_error(kColumns, in.hessian.data(), linear_term.data(), in.rows.data(), q.data(), kRows);
  EXPECT_EQ(known, 0.0);  // no errors of its own
  for (float& value : q) value = std::round(value * 4) / 4;
  const double change =
      output_error(kColumns, in.hessian.data(), linear_term.data(), in.rows.data(), q.data(), kRows) - known;
  EXPECT_NEAR(change, lost(in, q) - before, 1e-4 * std::abs(change));
}

TEST(Correction, ARidgeHoldsTheRowsBack) {
  const Inputs in = inputs();
  const std::vector<float> linear_term = compute_linear_term(in.rows, in.cross_covariance, kColumns);
  double first = 0.0, last = std::numeric_limits<double>::infinity();
  for (const double ridge : {0.0, 0.1, 1.0, 100.0}) {
    const std::vector<float> row = Correction(in.hessian, kColumns, ridge).corrected(in.rows, linear_term);
    double distance = 0.0;
    for (size_t i = 0; i < row.size(); ++i) distance += std::pow(row[i] - in.rows[i], 2);
    EXPECT_LT(distance, last);
    if (ridge == 0.0) first = distance;
    last = distance;
  }
  EXPECT_LT(last, 0.01 * first);
}

TEST(Correction, WithoutDriftOrUsableMomentsRowsStay) {
  Inputs in = inputs();
  EXPECT_TRUE(compute_linear_term(in.rows, {}, kColumns).empty());
  EXPECT_EQ(Correction(in.hessian, kColumns, 0.1).corrected(in.rows, {}), in.rows);
  const std::vector<float> linear_term = compute_linear_term(in.rows, in.cross_covariance, kColumns);
  for (const float broken : {0.0f, -1.0f, std::numeric_limits<float>::quiet_NaN()}) {
    const Correction correction(std::vector<float>(in.hessian.size(), broken), kColumns, 0.1);
    EXPECT_EQ(correction.corrected(in.rows, linear_term), in.rows) << broken;
  }
}

}  // namespace
}  // namespace steelyard::quantize
