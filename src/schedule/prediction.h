// Blocks after the trunk that predict further tokens (NextN, multi-token prediction). A block combines the trunk's
// output at a position with the embedding of the next token:
//   z = eh_proj . [RMS(embedding, enorm) | RMS(h, hnorm)], then z passes through the block like any layer.
// h is the trunk's output, or that of the previous block, normed (DeepSeek-V3 report, section 2.2) or as it is
// (ModelConfig::prediction_of_normed).
//
// Generation does not use them. Calibration runs them so that their tensors are quantized as well as the others.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/model.h"

namespace steelyard::schedule {

class PredictionBlocks {
 public:
  /// For sequences of n_ctx tokens. The model outlives the blocks.
  PredictionBlocks(const model::Model& model, int64_t n_ctx);

  bool empty() const { return blocks_.empty(); }

  /// A chunk of text: ids [n_ctx], and where its texts begin, ascending from 0.
  struct Chunk {
    std::vector<int32_t> ids;
    std::span<const int64_t> starts;
  };

  /// x [chunks.size() * n_ctx, hidden_width]: the trunk's output for whole chunks. Runs all blocks over them.
  /// Each block has one row less per chunk, since the last token's successor is unknown; the last token of a text
  /// within a chunk is followed by that of the next text. Returns the last block's output [chunks.size() * (n_ctx -
  /// n_blocks), hidden_width], valid until the next call.
  compute::Matrix run(std::span<const Chunk> chunks, compute::Matrix x, model::ForwardContext& ctx);

 private:
  struct Block {
    model::Layer layer;
    model::PredictionWeights weights;
    std::vector<model::KvLayer> caches;  // one per chunk
  };

  compute::Matrix embed(const Block& block, std::span<const int32_t> ids, model::ForwardContext& ctx) const;
  compute::Matrix head_input(const Block& block, compute::Matrix z, model::ForwardContext& ctx) const;

  const model::Model& model_;
  int64_t n_ctx_;
  std::vector<Block> blocks_;
  compute::Buffer memory_;  // of h and z
  int64_t n_rows_ = 0;
};

}  // namespace steelyard::schedule
