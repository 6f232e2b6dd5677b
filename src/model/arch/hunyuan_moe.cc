// hunyuan-moe: Hunyuan A13B.
//
// Queries and keys are normed per head after RoPE; experts in every block by softmax over all, renormalised, and a
// shared expert. Their width is that of a dense FFN.
#include "model/architecture.h"

namespace steelyard::model {

ModelConfig read_hunyuan_moe(const ModelKeys& keys) {
  LayerConfig layer;
  layer.attention = keys.fully_rotated_attention(compute::RopePairs::kNeox);
  layer.attention.norm_after_rope = true;
  layer.ffn = keys.required_experts();
  layer.ffn.n_ff = keys.count("feed_forward_length");
  layer.ffn.n_ff_shared = keys.count("expert_shared_feed_forward_length", 0);
  if (layer.ffn.n_ff_shared == 0) layer.ffn.n_ff_shared = layer.ffn.n_ff;
  layer.ffn.normalize = true;
  layer.required = {"attn_q_norm.weight", "attn_k_norm.weight"};
  return keys.model(layer);
}

}  // namespace steelyard::model
