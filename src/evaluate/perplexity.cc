#include "evaluate/perplexity.h"

#include <cmath>

namespace steelyard::evaluate {

PerplexityResult perplexity(std::span<const TokenScore> scores) {
  std::vector<double> nll;
  nll.reserve(scores.size());
  for (const TokenScore& score : scores) nll.push_back(score.nll);
  const MeanEstimate mean = mean_estimate(nll);
  const double value = std::exp(mean.mean);
  return {value, value * mean.standard_error, mean.mean, static_cast<int64_t>(scores.size())};
}

std::vector<double> running_perplexity(std::span<const TokenScore> scores, int64_t n_scored) {
  std::vector<double> running;
  double sum = 0;
  for (size_t i = 0; i < scores.size(); ++i) {
    sum += scores[i].nll;
    if ((i + 1) % static_cast<size_t>(n_scored) == 0) running.push_back(std::exp(sum / static_cast<double>(i + 1)));
  }
  return running;
}

}  // namespace steelyard::evaluate
