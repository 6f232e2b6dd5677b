// minimax-m2: MiniMax M2 to M2.7.
//
// Grouped attention with RoPE on part of the head; queries and keys are normed over all heads at once. Experts in every
// block, their weights always renormalised; scale and norm keys are not read.
#include "model/architecture.h"

namespace steelyard::model {

ModelConfig read_minimax_m2(const ModelKeys& keys) {
  LayerConfig layer;
  layer.attention = keys.attention(compute::RopePairs::kNeox);
  layer.attention.whole_norm = true;
  layer.ffn = keys.required_experts();
  layer.ffn.n_ff = keys.count("feed_forward_length");
  layer.ffn.gating = keys.required_gating();
  layer.ffn.normalize = true;
  layer.required = {"attn_q_norm.weight", "attn_k_norm.weight", "exp_probs_b.bias"};
  ModelConfig config = keys.model(layer);
  config.output_required = true;
  return config;
}

}  // namespace steelyard::model
