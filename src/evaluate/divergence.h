// Compares a base's and a model's distributions over all scored tokens: KL divergence, change of the next token's
// probability, ratio of perplexities, agreement of the most likely token (docs/perplexity.md).
#pragma once

#include <cstdint>
#include <span>

#include "evaluate/statistics.h"
#include "evaluate/token_score.h"

namespace steelyard::evaluate {

struct DivergenceResult {
  int64_t n_tokens = 0;
  MeanEstimate kld;               ///< nats per token
  double kld_sampling_error = 0;  ///< of the mean, from what the base keeps as a sample only; 0 for a complete base
  Percentiles klds{{}};
  MeanEstimate delta_p;  ///< q - p of the next token
  MeanEstimate rms_delta_p;
  Percentiles delta_ps{{}};
  MeanEstimate base_perplexity;
  MeanEstimate log_ratio;   ///< ln(perplexity / base's)
  MeanEstimate ratio;       ///< perplexity / base's
  MeanEstimate difference;  ///< perplexity - base's
  double correlation = 0;   ///< of the tokens' log-likelihoods
  MeanEstimate same_top;    ///< share of positions whose most likely token is the base's
};

DivergenceResult divergence(std::span<const TokenScore> scores);

}  // namespace steelyard::evaluate
