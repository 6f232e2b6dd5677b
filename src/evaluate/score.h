// Runs chunks of text through a model and passes on the logits that perplexity and divergence score.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "evaluate/expert_recorder.h"
#include "schedule/layer_sweep.h"
#include "tokenizer/chunks.h"

namespace steelyard::evaluate {

/// A run of scored positions on the host.
struct ScoredLogits {
  int64_t chunk;
  int64_t first;  ///< first row's index among the chunk's scored positions
  int64_t n_rows;
  int64_t n_vocab;
  std::span<const float> values;                ///< [n_rows, n_vocab]
  std::span<const tokenizer::TokenId> targets;  ///< [n_rows] what the positions must predict
  std::span<const uint16_t> experts;            ///< [n_rows, n_choices] with a recorder, else empty
  bool batch_ends;                              ///< the last rows of the last chunk of a batch

  std::span<const float> row(int64_t r) const {
    return values.subspan(static_cast<size_t>(r * n_vocab), static_cast<size_t>(n_vocab));
  }
};

struct ScoreOptions {
  std::string path;                    ///< of the model, for errors
  schedule::SweepOptions sweep;        ///< keep_layers: token-major, one batch after the other; else layer-major
  ExpertRecorder* recorder = nullptr;  ///< sees which experts are chosen
  std::function<void(int64_t done, int64_t count)> layer_done;  ///< layer-major: called after each; may be empty
};

/// Runs windows of chunks and passes on the logits of their scored positions in order, some rows at a time. So memory
/// does not grow with n_ctx * n_vocab. Logits are computed last, so it does not grow with the number of chunks either.
/// Both orders give the same bits. Where layers are dealt out to ranks (SweepOptions), the leader alone has logits.
class ChunkScorer {
 public:
  /// All arguments outlive it.
  ChunkScorer(const model::Model& model, const tokenizer::Chunks& chunks, int64_t n_vocab, const ScoreOptions& options,
              const std::function<void(const ScoredLogits&)>& visit);
  ~ChunkScorer();

  /// Chunks of a window: of a batch, or all.
  int64_t window() const;
  /// The window that begins with this chunk. Error naming the place where a chunk's numbers become non-finite.
  void score(int64_t first);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

/// The chunks from first_chunk on, which begins a batch.
void score_chunks(const model::Model& model, const tokenizer::Chunks& chunks, int64_t n_vocab,
                  const ScoreOptions& options, int64_t first_chunk,
                  const std::function<void(const ScoredLogits&)>& visit);

/// What score_chunks keeps in memory besides the sweep: rows of logits on backend and host.
uint64_t scoring_bytes(const tokenizer::Chunks& chunks, int64_t n_vocab);

}  // namespace steelyard::evaluate
