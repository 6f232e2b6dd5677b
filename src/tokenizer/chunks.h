// How calibration and evaluation cut a text into chunks, and which positions evaluation scores.
//
// Tokens are cut into chunks of n_ctx; each chunk is evaluated on its own from an empty context. Where the model wants
// BOS, it replaces the first token of each chunk for the forward pass. Only the second half is scored: the logits at
// positions n_ctx/2 .. n_ctx-2 predict the token after them. This is what llama-perplexity does, so numbers compare.
// With a stride, chunks overlap and each scores its last tokens only, so that all predictions have a long context.
//
// Chunks of a text that a model has written are those that it wrote: each may hold several texts, and all of them begin
// in an empty context.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace steelyard::tokenizer {

class Chunks {
 public:
  /// At most `max_chunks` chunks (all if <= 0). Error naming `source` when there are fewer than 2 * n_ctx tokens.
  Chunks(std::vector<TokenId> tokens, int64_t n_ctx, int64_t max_chunks, std::optional<TokenId> bos,
         const std::string& source);

  /// Chunks that begin every `stride` tokens and score their last `stride` predictions, as llama-perplexity
  /// --ppl-stride does. A chunk has n_ctx + stride / 2 tokens, rounded up to a multiple of 256, and BOS is not
  /// inserted. Error when the stride is not in [1, n_ctx], or `source` has fewer than two chunks' worth of tokens.
  static Chunks strided(std::vector<TokenId> tokens, int64_t n_ctx, int64_t stride, int64_t max_chunks,
                        const std::string& source);

  /// Chunks as they are, [count, n_ctx] ids. starts: of each chunk where its texts begin, ascending from 0. Error when
  /// there are none, or one of them is of another length.
  static Chunks written(std::vector<std::vector<TokenId>> chunks, std::vector<std::vector<int64_t>> starts,
                        int64_t n_ctx, const std::string& source);

  /// Scores positions `first` .. n_ctx - 2 of each chunk from now on: for a text that a model is tuned on.
  void score_from(int64_t first) { first_scored_ = first; }

  int64_t n_ctx() const { return n_ctx_; }
  int64_t count() const { return count_; }
  /// Scored positions per chunk.
  int64_t n_scored() const { return n_ctx_ - 1 - first_scored_; }
  int64_t first_scored() const { return first_scored_; }

  /// Tokens of chunk c as the model sees them, BOS in place [n_ctx].
  std::vector<TokenId> input(int64_t c) const;
  /// Positions of chunk c where a text begins, ascending from 0.
  std::span<const int64_t> starts(int64_t c) const;
  /// The tokens that the scored positions of chunk c must predict [n_scored].
  std::span<const TokenId> targets(int64_t c) const;
  /// The original tokens of all chunks; without a stride [count * n_ctx].
  std::span<const TokenId> tokens() const {
    return std::span(tokens_).first(static_cast<size_t>((count_ - 1) * step_ + n_ctx_));
  }

 private:
  Chunks() = default;

  std::vector<TokenId> tokens_;
  int64_t n_ctx_ = 0;
  int64_t step_ = 0;  // from one chunk's first token to the next one's
  int64_t first_scored_ = 0;
  int64_t count_ = 0;
  std::optional<TokenId> bos_;
  std::vector<std::vector<int64_t>> starts_;  // of written chunks; empty: each chunk is one text
};

/// Tokens of a text for evaluation or calibration: one trailing newline is dropped, BOS and EOS are added as the model
/// asks.
std::vector<TokenId> tokenize_text(const Tokenizer& tokenizer, std::string text, bool parse_special);

/// The same of a file, or of a pipe. Error when it cannot be read or is no text (read_text_file).
std::vector<TokenId> tokenize_file(const Tokenizer& tokenizer, const std::string& path, bool parse_special);

/// BOS for Chunks: the model's, if it wants one.
std::optional<TokenId> chunk_bos(const Tokenizer& tokenizer);

}  // namespace steelyard::tokenizer
