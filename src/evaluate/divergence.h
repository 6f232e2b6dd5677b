// KL divergence of a model from a base model, over the base's log-probabilities stored in llama-perplexity's file format
// (docs/divergence.md).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/atomic_file.h"
#include "base/mapped_file.h"
#include "evaluate/perplexity.h"
#include "evaluate/score.h"

namespace steelyard {

/// Base log-probabilities on disk. Checked once on opening.
class DivergenceBase {
 public:
  /// Error when `path` is no base file, is truncated, or its counts do not fit its length.
  explicit DivergenceBase(const std::string& path);

  /// Error unless the base was made with this vocabulary, context and text (at least as many chunks).
  void require(const Chunks& chunks, int64_t n_vocab) const;

  int64_t n_ctx() const { return n_ctx_; }
  int64_t n_vocab() const { return n_vocab_; }
  int64_t n_chunks() const { return n_chunks_; }
  /// Log-probabilities [n_vocab] of scored position `index` of a chunk.
  void log_probs(int64_t chunk, int64_t index, std::span<float> out) const;
  /// The text it was made with [n_chunks * n_ctx].
  std::vector<TokenId> tokens() const;

 private:
  MappedFile file_;
  int64_t n_ctx_, n_vocab_, n_chunks_;
  int64_t n_scored_;
  size_t tokens_begin_, rows_begin_, row_bytes_;
};

/// Writes a base file, row by row in the order of score_chunks.
class DivergenceBaseWriter {
 public:
  DivergenceBaseWriter(const std::string& path, const Chunks& chunks, int64_t n_vocab);
  void add(const ScoredLogits& rows);
  void finish() { file_.finish(); }

 private:
  AtomicFile file_;
  std::vector<uint16_t> row_;
};

struct DivergenceResult {
  MeanEstimate kld;           ///< nats per token
  double max_kld = 0;
  double median_kld = 0;
  MeanEstimate same_top;      ///< share of positions whose most likely token is the base's
  int64_t n_tokens = 0;
};

class DivergenceMeter {
 public:
  /// `base` was required to fit.
  explicit DivergenceMeter(const DivergenceBase& base) : base_(base) {}
  void add(const ScoredLogits& rows);
  DivergenceResult result() const;

 private:
  const DivergenceBase& base_;
  std::vector<float> klds_;
  RunningMean kld_;
  RunningMean same_top_;
};

}  // namespace steelyard
