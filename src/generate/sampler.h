// Picks the next token from logits. The steps are those of llama.cpp in its order, each a function of its own:
// repetition penalty, top-k, top-p, min-p, temperature, draw. docs/run.md describes them to users.
//
// The same logits, options and seed give the same tokens on every platform. Used by Generator.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/random.h"
#include "tokenizer/vocabulary.h"

namespace steelyard::generate {

struct SamplingOptions {
  double temperature = 0.8;    // 0: always the likeliest token
  int64_t top_k = 40;          // keep that many; 0: all
  double top_p = 0.95;         // keep the likeliest until they have this share; 1: all
  double min_p = 0.05;         // keep what has at least this share of the likeliest; 0: all
  double repeat_penalty = 1;   // of tokens among the last ones; 1: none
  int64_t repeat_last_n = 64;  // how many tokens are the last ones; -1: all
  uint64_t seed = 0;

  /// Under the names of the flags, as options of jobs are listed. The seed is not among them: who samples chooses it.
  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("temp", self.temperature);
    visit("top_k", self.top_k);
    visit("top_p", self.top_p);
    visit("min_p", self.min_p);
    visit("repeat_penalty", self.repeat_penalty);
    visit("repeat_last_n", self.repeat_last_n);
  }
};

/// Error naming the option unless every option is in its range.
void check(const SamplingOptions& options);

/// A token that may come next.
struct Candidate {
  tokenizer::TokenId id;
  double logit;
};

/// Divides the logits of `recent` tokens that are positive by `penalty`, and multiplies the others; each token once.
void penalise(std::span<float> logits, std::span<const tokenizer::TokenId> recent, double penalty);

/// The `k` largest logits (all if k is 0), the largest first; among equal ones the lower id.
std::vector<Candidate> top_k(std::span<const float> logits, int64_t k);

/// softmax(logit / temperature) [candidates.size()].
std::vector<double> probabilities(std::span<const Candidate> candidates, double temperature);

/// Keeps the fewest of `candidates`, largest first, that together have a probability of `p`; at least one.
void top_p(std::vector<Candidate>& candidates, double p);

/// Keeps those of `candidates`, largest first, that are at least `p` times as probable as the first.
void min_p(std::vector<Candidate>& candidates, double p);

/// The candidate at `u` in [0, 1) of the cumulative distribution at `temperature`.
tokenizer::TokenId draw(std::span<const Candidate> candidates, double temperature, double u);

/// The same of all tokens, in the order of their ids: where none is left out, sorting them would only take time.
tokenizer::TokenId draw(std::span<const float> logits, double temperature, double u);

class Sampler {
 public:
  /// Error as check().
  explicit Sampler(const SamplingOptions& options);

  /// Records a token of the text, prompt or not, for the penalty.
  void accept(tokenizer::TokenId id);

  /// The next token; `logits` [n_vocab] are finite and are changed by the penalty. Among equally likely ones the lowest
  /// id.
  tokenizer::TokenId sample(std::span<float> logits);

 private:
  SamplingOptions options_;
  Random random_;
  std::vector<tokenizer::TokenId> recent_;  // oldest first
};

}  // namespace steelyard::generate
