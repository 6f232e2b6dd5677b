#include "evaluate/perplexity.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/parallel.h"

namespace steelyard {

MeanEstimate RunningMean::estimate() const {
  if (count_ == 0) return {};
  const auto n = static_cast<double>(count_);
  const double mean = sum_ / n;
  const double variance = count_ > 1 ? std::max(0.0, sum_squares_ / n - mean * mean) / (n - 1) : 0.0;
  return {mean, std::sqrt(variance)};
}

LogNormalizer log_normalizer(std::span<const float> row) {
  const auto max = std::max_element(row.begin(), row.end());
  double sum = 0;
  for (const float x : row) sum += std::exp(x - *max);  // float differences, as the field computes them; summed in double
  return {static_cast<double>(*max) + std::log(sum), max - row.begin()};
}

void PerplexityMeter::add(const ScoredLogits& rows) {
  const auto targets = chunks_.targets(rows.chunk).subspan(static_cast<size_t>(rows.first));
  std::vector<double> nll(static_cast<size_t>(rows.n_rows));
  parallel_for(rows.n_rows, 8, [&](int64_t r) {
    const auto row = rows.values.subspan(static_cast<size_t>(r * rows.n_vocab), static_cast<size_t>(rows.n_vocab));
    nll[r] = log_normalizer(row).log_sum - row[static_cast<size_t>(targets[r])];
  });
  for (int64_t r = 0; r < rows.n_rows; ++r) {
    if (!std::isfinite(nll[r])) {
      fail("", "chunk {}: the logits at position {} are not finite", rows.chunk + 1,
           chunks_.first_scored() + rows.first + r);
    }
    nll_.add(nll[r]);
  }
  if (rows.first + rows.n_rows == chunks_.n_scored()) running_.push_back(std::exp(nll_.estimate().mean));
}

PerplexityResult PerplexityMeter::result() const {
  const MeanEstimate nll = nll_.estimate();
  const double perplexity = std::exp(nll.mean);
  return {perplexity, perplexity * nll.standard_error, nll.mean, nll_.count(), running_};
}

}  // namespace steelyard
