// Layer-major iteration: the residual streams of all chunks stay in memory, and layer after layer passes over all of
// them. Each layer's weights are needed once, so a model may be far larger than memory; the activations are not.
#pragma once

#include <vector>

#include "model/model.h"
#include "tokenizer/chunks.h"

namespace steelyard {

class LayerSweep {
 public:
  /// Embeds the chunks. model and chunks outlive the sweep.
  LayerSweep(const Model& model, const Chunks& chunks);

  /// Chunks [begin, end) pass through the layer and are watched; their streams stay as they were.
  void watch(const Layer& layer, int64_t begin, int64_t end, MatmulObserver& observer);
  /// All chunks pass through the layer for good.
  void advance(const Layer& layer);

  int64_t n_chunks() const { return n_chunks_; }
  int64_t n_ctx() const { return n_ctx_; }

 private:
  void pass(const Layer& layer, int64_t begin, int64_t end, MatmulObserver* observer, bool keep);

  const Model& model_;
  int64_t n_ctx_, n_chunks_, width_;
  std::vector<float> streams_;  // [n_chunks, n_ctx, n_embd]
  Buffer batch_;                // [kBatchTokens or one chunk, n_embd]
  Scratch scratch_;
};

}  // namespace steelyard
