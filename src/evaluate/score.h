// Runs chunks of text through a model and hands out the logits that perplexity and divergence score.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "evaluate/expert_recorder.h"
#include "model/model.h"
#include "tokenizer/chunks.h"

namespace steelyard {

/// A run of scored positions on the host.
struct ScoredLogits {
  int64_t chunk;
  int64_t first;  ///< first row's index among the chunk's scored positions
  int64_t n_rows;
  int64_t n_vocab;
  std::span<const float> values;      ///< [n_rows, n_vocab]
  std::span<const TokenId> targets;   ///< [n_rows] what the positions must predict
  std::span<const uint16_t> experts;  ///< [n_rows, n_choices] with a recorder, else empty

  std::span<const float> row(int64_t r) const {
    return values.subspan(static_cast<size_t>(r * n_vocab), static_cast<size_t>(n_vocab));
  }
};

struct ScoreOptions {
  int64_t first_chunk = 0;             ///< go on with this one
  int64_t n_batch = 0;                 ///< tokens per batch; below n_ctx a chunk passes in pieces
  ExpertRecorder* recorder = nullptr;  ///< sees which experts are chosen
};

/// Sequences that a session for score_chunks has: as many whole chunks as a batch holds, at least one.
int64_t sequences_per_batch(const Chunks& chunks, int64_t n_batch);

/// Runs the chunks from first_chunk on and hands out the logits of their scored positions in order, some rows at a
/// time, so that memory does not grow with n_ctx * n_vocab. The session has room for n_ctx positions and at least
/// sequences_per_batch sequences.
void score_chunks(Session& session, Backend& backend, const Chunks& chunks, int64_t n_vocab,
                  const ScoreOptions& options, const std::function<void(const ScoredLogits&)>& visit);

}  // namespace steelyard
