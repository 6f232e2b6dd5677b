// What the page of an evaluation shows beyond its figures: the tokens that diverge most, with what both models would
// say there. Their logits are looked at while they pass, and change no figure.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "evaluate/evaluation.h"
#include "jobs/perplexity.h"
#include "report/evaluation_page.h"

namespace steelyard::jobs {

/// The tokens with the largest divergence so far, and what the quantized model finds most likely there.
class WorstTokens {
 public:
  static constexpr size_t kMost = 24;

  struct Seen {
    size_t index;  ///< among all scores of the run
    double kld;    ///< nats
    tokenizer::TokenId top;
    double probability;  ///< of top
  };

  /// n_scored: positions per chunk.
  explicit WorstTokens(int64_t n_scored) : n_scored_(n_scored) {}

  /// For EvaluationOptions::rows_scored.
  void see(const evaluate::ScoredLogits& rows, std::span<const evaluate::TokenScore> scores);

  /// Nothing for a token that an earlier run has scored, whose logits are gone.
  const Seen* find(size_t index) const;

 private:
  int64_t n_scored_;
  std::vector<Seen> seen_;  // at most kMost, the worst first
};

/// `scores` are those of the chunks, compared with the base.
report::DivergenceDetails divergence_details(const evaluate::EvaluationResult& evaluated,
                                             const tokenizer::Chunks& chunks, const evaluate::DivergenceBase& base,
                                             const tokenizer::Tokenizer& tokenizer, const WorstTokens& worst);

/// The page of `perplexity --report`. details: with a base.
std::string perplexity_page(const PerplexityOptions& options, const PerplexityResult& result,
                            const evaluate::EvaluationResult& evaluated,
                            std::optional<report::DivergenceDetails> details);

}  // namespace steelyard::jobs
