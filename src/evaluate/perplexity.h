// Perplexity: exp of the mean negative log-likelihood of the scored tokens, with its standard error.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "evaluate/score.h"

namespace steelyard {

/// A mean and its standard error, from sums of values and squares.
struct MeanEstimate {
  double mean = 0;
  double standard_error = 0;  ///< 0 for fewer than two values
};

class RunningMean {
 public:
  void add(double value) {
    ++count_;
    sum_ += value;
    sum_squares_ += value * value;
  }
  int64_t count() const { return count_; }
  MeanEstimate estimate() const;

 private:
  int64_t count_ = 0;
  double sum_ = 0;
  double sum_squares_ = 0;
};

/// log sum exp of a row in double, and its largest value.
struct LogNormalizer {
  double log_sum;  ///< log p[i] = x[i] - log_sum
  int64_t argmax;
};
LogNormalizer log_normalizer(std::span<const float> row);

struct PerplexityResult {
  double perplexity = 0;
  double standard_error = 0;  ///< of the perplexity
  double mean_nll = 0;        ///< nats per token
  int64_t n_tokens = 0;       ///< scored
  std::vector<double> running;  ///< perplexity after each chunk
};

class PerplexityMeter {
 public:
  explicit PerplexityMeter(const Chunks& chunks) : chunks_(chunks) {}

  /// Takes rows in the order of score_chunks. Error when a likelihood is not finite: the model's output is broken.
  void add(const ScoredLogits& rows);
  /// Perplexity after each finished chunk.
  const std::vector<double>& running() const { return running_; }
  /// Of everything so far.
  PerplexityResult result() const;

 private:
  const Chunks& chunks_;
  RunningMean nll_;
  std::vector<double> running_;
};

}  // namespace steelyard
