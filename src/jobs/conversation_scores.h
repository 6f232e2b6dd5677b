// What a model does to conversations, by who wrote a token and by how much of the conversation stands before it.
//
// Every conversation begins in an empty context. Chunks hold as many as fit, whole; the rest of a chunk is filled with
// the beginning of its first one again, which nobody looks at. All tokens are scored, those of assistants are what
// counts. Called by perplexity.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "evaluate/token_score.h"
#include "jobs/conversation_text.h"
#include "jobs/json.h"
#include "tokenizer/chunks.h"

namespace steelyard::jobs {

/// Of some tokens of conversations.
struct TokenFigures {
  std::string role;            ///< who wrote them; of positions "assistant"
  int64_t first = 0, end = 0;  ///< of positions: tokens that stand before them, [first, end)
  int64_t n_tokens = 0;
  double perplexity = 0;
  std::optional<double> mean_kld, mean_kld_standard_error, same_top;  ///< with a base

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("role", self.role);
    visit("first", self.first);
    visit("end", self.end);
    visit("n_tokens", self.n_tokens);
    visit("perplexity", self.perplexity);
    visit.if_any("mean_kld", self.mean_kld);
    visit.if_any("mean_kld_standard_error", self.mean_kld_standard_error);
    visit.if_any("same_top", self.same_top);
  }
};

/// Greedy answers where the conversation has calls of tools, beside those of the base.
struct ToolCallFigures {
  int64_t n_turns = 0;       ///< answers with calls in the conversations: so many prompts
  int64_t n_valid = 0;       ///< of them, where this model makes calls, all of known tools and with JSON as arguments
  int64_t n_base_valid = 0;  ///< where the base does
  int64_t n_same_names = 0;  ///< of those: where this model calls the same tools in the same order
  int64_t n_same = 0;        ///< of those: with equal arguments, as JSON

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("n_turns", self.n_turns);
    visit("n_valid", self.n_valid);
    visit("n_base_valid", self.n_base_valid);
    visit("n_same_names", self.n_same_names);
    visit("n_same", self.n_same);
  }
};

struct ConversationScores {
  ConversationFigures text;
  int64_t n_cut = 0;                    ///< transcripts that are longer than the context
  std::vector<TokenFigures> roles;      ///< those that occur
  std::vector<TokenFigures> positions;  ///< of assistants' tokens, in stretches that double
  std::optional<ToolCallFigures> tool_calls;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("text", self.text);
    visit("n_cut", self.n_cut);
    visit("roles", self.roles);
    visit("positions", self.positions);
    visit.if_any("tool_calls", self.tool_calls);
  }
};

class ScoredConversations {
 public:
  /// n_ctx: of a chunk; 0: as long as the longest transcript, at most `most`.
  ScoredConversations(const ConversationText& text, int64_t n_ctx, int64_t most);

  /// All positions are scored.
  const tokenizer::Chunks& chunks() const { return *chunks_; }
  /// Who wrote the token that a scored position predicts, by the position's index in all scores; nothing for tokens
  /// that are not looked at.
  std::optional<chat::Role> role(size_t index) const;
  /// Those of assistants.
  std::vector<evaluate::TokenScore> answers(std::span<const evaluate::TokenScore> scores) const;
  /// All but tool calls.
  ConversationScores scores(std::span<const evaluate::TokenScore> scores, bool with_base) const;

 private:
  struct Predicted {
    std::optional<chat::Role> role;
    int64_t position = 0;  // tokens that stand before it
  };
  std::optional<tokenizer::Chunks> chunks_;
  std::vector<Predicted> predicted_;  // [count * n_scored]
  ConversationFigures figures_;
  int64_t n_cut_ = 0;
};

}  // namespace steelyard::jobs
