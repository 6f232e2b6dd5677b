// Means with standard errors, percentiles and what follows from them. Sums are in double and depend only on the order
// of the values: the same values give the same figures to the last digit.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace steelyard::evaluate {

/// A mean and its standard error, sqrt(variance / (n - 1)) with the variance over n.
struct MeanEstimate {
  double mean = 0;
  double standard_error = 0;  ///< 0 for fewer than two values
};

MeanEstimate mean_estimate(std::span<const double> values);

/// Covariance of the means of a and b: (mean of products - product of means) / (n - 1); 0 for fewer than two values.
double mean_covariance(std::span<const double> a, std::span<const double> b);

/// The share of n trials that succeeded, with sqrt(p (1 - p) / (n - 1)).
MeanEstimate share_estimate(int64_t successes, int64_t n);

/// Wilson's 95 % score interval of a share (JASA 22, 1927).
struct Interval {
  double low = 0;
  double high = 1;
};
Interval wilson_interval(int64_t successes, int64_t n);

/// Distribution of values: extremes, median and percentiles interpolated linearly between neighbours.
class Percentiles {
 public:
  explicit Percentiles(std::vector<double> values);
  /// fraction in [0, 1]: 0 is the smallest value, 1 the largest; 0 when there are no values.
  double at(double fraction) const;

 private:
  std::vector<double> sorted_;
};

}  // namespace steelyard::evaluate
