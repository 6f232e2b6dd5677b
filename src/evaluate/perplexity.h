// Perplexity: exp of the mean negative log-likelihood of the scored tokens, with its standard error.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "evaluate/statistics.h"
#include "evaluate/token_score.h"

namespace steelyard::evaluate {

struct PerplexityResult {
  double perplexity = 0;
  double standard_error = 0;  ///< of the perplexity
  double mean_nll = 0;        ///< nats per token
  int64_t n_tokens = 0;       ///< scored
};

PerplexityResult perplexity(std::span<const TokenScore> scores);

/// Perplexity after each chunk of `n_scored` tokens.
std::vector<double> running_perplexity(std::span<const TokenScore> scores, int64_t n_scored);

}  // namespace steelyard::evaluate
