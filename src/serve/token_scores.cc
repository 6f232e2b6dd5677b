#include "serve/token_scores.h"

#include <algorithm>
#include <cmath>

namespace steelyard::serve {

ScoredToken score_token(std::span<const float> logits, tokenizer::TokenId id, int64_t n_top) {
  const double largest = *std::ranges::max_element(logits);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(double{logit} - largest);
  const double log_sum = largest + std::log(sum);
  const auto score = [&](tokenizer::TokenId of) {
    return TokenScore{of, static_cast<float>(logits[static_cast<size_t>(of)] - log_sum)};
  };
  ScoredToken scored{score(id), {}};
  if (n_top == 0) return scored;
  for (const generate::Candidate& candidate : generate::top_k(logits, n_top)) scored.top.push_back(score(candidate.id));
  return scored;
}

}  // namespace steelyard::serve
