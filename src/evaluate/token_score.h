// What is kept of a scored token. Every figure of an evaluation is computed from these at the end, so that memory grows
// with the number of tokens but not with the vocabulary, and an interrupted run goes on to the same last digit.
#pragma once

#include <cstdint>
#include <span>

namespace steelyard::evaluate {

struct TokenScore {
  double nll = 0;           ///< -log q of the next token, in nats; q is the model's
  double base_nll = 0;      ///< -log p of it; p is the base's
  double kld = 0;           ///< sum p (log p - log q)
  double kld_variance = 0;  ///< of the error of kld where the base keeps a sample of its tail
  int64_t same_top = 0;     ///< 1 when both find the same token most likely
};
static_assert(sizeof(TokenScore) == 40, "written to disk as it is");

/// Normalizes a row of logits x: log q[i] = x[i] - log_sum, in double. Differences are formed in float, as other tools
/// do. argmax: the first of the largest.
struct LogNormalizer {
  double log_sum;
  int64_t argmax;
};
LogNormalizer log_normalizer(std::span<const float> row);

}  // namespace steelyard::evaluate
