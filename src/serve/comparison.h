// Two quantizations of a model side by side: the same prompt answered by both, and at every position of both answers
// how far their distributions are apart. Computes on the caller's thread, with sessions of its own; models and backends
// are not to be used by anybody else meanwhile. Called by Server for its page.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "model/model.h"
#include "schedule/session.h"
#include "serve/text_request.h"
#include "tokenizer/tokenizer.h"

namespace steelyard::serve {

struct ComparedToken {
  tokenizer::TokenId id = 0;
  double divergence = 0;                ///< of the first model's distribution from the second's, KL in nats
  std::vector<TokenScore> top[2] = {};  ///< of each model, the likeliest first

  bool agrees() const { return top[0][0].id == top[1][0].id; }
};

struct ComparedAnswers {
  std::vector<ComparedToken> answers[2];    ///< greedy, of each model
  std::optional<int64_t> first_difference;  ///< the first place at which the two have different tokens
};

class Comparison {
 public:
  /// References to all. Error unless both models have one vocabulary, and for everything that Session refuses.
  Comparison(const model::Model& model, const model::Model& base, const tokenizer::Tokenizer& tokenizer,
             int64_t n_context, int threads);

  int64_t n_context() const { return n_context_; }
  /// Answers of up to n tokens; prompt and answer have room in the context. From several threads one after the other.
  ComparedAnswers compare(std::span<const tokenizer::TokenId> prompt, int64_t n);

 private:
  std::vector<tokenizer::TokenId> answer(size_t which, std::span<const tokenizer::TokenId> prompt, int64_t n);
  std::vector<float> rows_of(size_t which, std::span<const tokenizer::TokenId> prompt,
                             std::span<const tokenizer::TokenId> answer);
  std::vector<ComparedToken> compare_at(std::span<const tokenizer::TokenId> prompt,
                                        std::span<const tokenizer::TokenId> answer);

  const model::Model* models_[2];
  const tokenizer::Tokenizer& tokenizer_;
  const int64_t n_context_;
  const int threads_;
  std::mutex mutex_;
  schedule::Session sessions_[2];
};

/// KL(p || q) in nats of the distributions that two rows of logits give.
double divergence(std::span<const float> p, std::span<const float> q);

}  // namespace steelyard::serve
