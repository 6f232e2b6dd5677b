// deepseek32: DeepSeek-V3.2.
//
// deepseek2 with an indexer in every block that chooses the positions attention sees.
#include "model/architecture.h"

namespace steelyard::model {

ModelConfig read_deepseek2(const ModelKeys& keys);

/// deepseek2 in its absorbed form, always with q LoRA, and an indexer in every block.
ModelConfig read_with_indexer(const ModelKeys& keys, compute::RopePairs pairs, float norm_eps) {
  keys.count("attention.key_length_mla");
  ModelConfig config = read_deepseek2(keys);
  IndexerConfig indexer;
  indexer.kind = IndexerConfig::Kind::kPositions;
  indexer.n_head = keys.count("attention.indexer.head_count");
  indexer.head = keys.count("attention.indexer.key_length");
  indexer.n_best = keys.count("attention.indexer.top_k");
  indexer.pairs = pairs;
  indexer.norm_eps = norm_eps;
  const int64_t n_dims = config.layers.front().attention.rope.n_dims;
  if (indexer.head < n_dims)
    keys.reject("attention.indexer.key_length", "is {}, expected at least rope.dimension_count {}", indexer.head,
                n_dims);
  for (auto* const layers : {&config.layers, &config.prediction}) {
    for (LayerConfig& layer : *layers) {
      layer.attention.q_lora_rank = keys.count("attention.q_lora_rank");
      layer.attention.indexer = indexer;
    }
  }
  return config;
}

ModelConfig read_deepseek32(const ModelKeys& keys) {
  if (!keys.gating()) keys.reject("expert_gating_func", "is missing");
  return read_with_indexer(keys, compute::RopePairs::kNeox, 1e-6f);
}

}  // namespace steelyard::model
