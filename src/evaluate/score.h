// Runs chunks of text through a model and hands out the logits that perplexity and divergence score.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "model/model.h"
#include "tokenizer/chunks.h"

namespace steelyard {

/// Host copies of the logits of a run of scored positions: rows of n_vocab floats.
struct ScoredLogits {
  int64_t chunk;
  int64_t first;  ///< first row's index among the chunk's scored positions
  int64_t n_rows;
  int64_t n_vocab;
  std::span<const float> values;  ///< [n_rows, n_vocab]
};

/// Runs every chunk through `session` and hands out the logits of scored positions in order, some rows at a time, so that
/// memory does not grow with n_ctx * n_vocab.
void score_chunks(Session& session, Backend& backend, const Chunks& chunks, int64_t n_vocab,
                  const std::function<void(const ScoredLogits&)>& visit);

}  // namespace steelyard
