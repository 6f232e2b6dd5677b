// smollm3: SmolLM 3.
//
// As llama, without RoPE in every fourth block.
#include "model/architecture.h"

namespace steelyard::model {

ModelConfig read_smollm3(const ModelKeys& keys) {
  LayerConfig layer;
  layer.attention = keys.fully_rotated_attention(compute::RopePairs::kNorm);
  layer.ffn.n_ff = keys.count("feed_forward_length");
  ModelConfig config = keys.model(layer);
  constexpr size_t kPeriod = 4;
  for (size_t i = kPeriod - 1; i < config.layers.size(); i += kPeriod) config.layers[i].attention.rope.n_dims = 0;
  return config;
}

}  // namespace steelyard::model
