// qwen3: Qwen 3, dense.
//
// As qwen2 without biases; queries and keys are normed per head before RoPE.
#include "model/architecture.h"

namespace steelyard::model {

ModelConfig read_qwen3(const ModelKeys& keys) {
  LayerConfig layer;
  layer.attention = keys.fully_rotated_attention(compute::RopePairs::kNeox);
  layer.ffn.n_ff = keys.count("feed_forward_length");
  layer.required = {"attn_q_norm.weight", "attn_k_norm.weight"};
  return keys.model(layer);
}

}  // namespace steelyard::model
