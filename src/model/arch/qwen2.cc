// qwen2: Qwen 1.5 to 2.5, dense.
//
// As llama, with biases on queries, keys and values, and RoPE on pairs half a head apart. The sliding window of some
// configurations is never used.
#include "model/architecture.h"

namespace steelyard::model {

ModelConfig read_qwen2(const ModelKeys& keys) {
  LayerConfig layer;
  layer.attention = keys.fully_rotated_attention(compute::RopePairs::kNeox);
  layer.ffn.n_ff = keys.count("feed_forward_length");
  return keys.model(layer);
}

}  // namespace steelyard::model
