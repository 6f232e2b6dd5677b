#include "evaluate/statistics.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace steelyard::evaluate {
namespace {

double mean_of(std::span<const double> values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

}  // namespace

MeanEstimate mean_estimate(std::span<const double> values) {
  if (values.empty()) return {};
  return {mean_of(values), std::sqrt(mean_covariance(values, values))};
}

double mean_covariance(std::span<const double> a, std::span<const double> b) {
  STEELYARD_CHECK(a.size() == b.size());
  if (a.size() < 2) return 0;
  const double mean_a = mean_of(a), mean_b = mean_of(b);
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += (a[i] - mean_a) * (b[i] - mean_b);
  const auto n = static_cast<double>(a.size());
  return sum / n / (n - 1);
}

MeanEstimate share_estimate(int64_t successes, int64_t n) {
  if (n == 0) return {};
  const double p = static_cast<double>(successes) / static_cast<double>(n);
  return {p, n > 1 ? std::sqrt(p * (1 - p) / static_cast<double>(n - 1)) : 0.0};
}

Interval wilson_interval(int64_t successes, int64_t n) {
  if (n == 0) return {};
  constexpr double kZ = 1.95996398454;  // the normal distribution's 97.5th percentile
  const double p = static_cast<double>(successes) / static_cast<double>(n);
  const double shrink = kZ * kZ / static_cast<double>(n);
  const double half = std::sqrt(shrink * (4 * p * (1 - p) + shrink)) / 2;
  const double middle = p + shrink / 2;
  return {(middle - half) / (1 + shrink), (middle + half) / (1 + shrink)};
}

Percentiles::Percentiles(std::vector<double> values) : sorted_(std::move(values)) { std::ranges::sort(sorted_); }

double Percentiles::at(double fraction) const {
  if (sorted_.empty()) return 0;
  const double place = std::clamp(fraction, 0.0, 1.0) * static_cast<double>(sorted_.size() - 1);
  const auto below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, sorted_.size() - 1);
  const double weight = place - static_cast<double>(below);
  return (1 - weight) * sorted_[below] + weight * sorted_[above];
}

}  // namespace steelyard::evaluate
