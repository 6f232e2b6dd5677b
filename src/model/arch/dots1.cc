// dots1: dots.llm1.
//
// Queries and keys are normed per head; shared experts beside routed ones, the first blocks dense.
#include "model/architecture.h"

namespace steelyard::model {

ModelConfig read_dots1(const ModelKeys& keys) {
  LayerConfig dense;
  dense.attention = keys.fully_rotated_attention(compute::RopePairs::kNeox);
  dense.required = {"attn_q_norm.weight", "attn_k_norm.weight"};
  LayerConfig moe = dense;
  moe.ffn = keys.required_experts();
  moe.ffn.n_ff_shared = moe.ffn.n_ff * keys.shared_experts();
  moe.ffn.gating = keys.required_gating();
  moe.ffn.normalize = keys.boolean("expert_weights_norm", false);
  moe.ffn.scale = keys.expert_scale();
  ModelConfig config = keys.model_with_dense_blocks(dense, moe);
  config.output_required = true;
  return config;
}

}  // namespace steelyard::model
