// bailingmoe2: Ling and Ring 2.
//
// Grouped attention with RoPE on part of the head, queries and keys normed per head; experts in groups with a shared
// one, the first blocks dense.
#include "model/architecture.h"

namespace steelyard::model {

ModelConfig read_bailingmoe2(const ModelKeys& keys) {
  LayerConfig dense;
  dense.attention = keys.attention(compute::RopePairs::kNeox);
  dense.required = {"attn_q_norm.weight", "attn_k_norm.weight"};
  LayerConfig moe = dense;
  moe.ffn = keys.required_experts();
  const int64_t n_ff_shared = keys.count("expert_shared_feed_forward_length", 0);
  moe.ffn.n_ff_shared = (n_ff_shared > 0 ? n_ff_shared : moe.ffn.n_ff) * keys.shared_experts();
  moe.ffn.gating = keys.required_gating();
  moe.ffn.normalize = keys.boolean("expert_weights_norm", false);
  moe.ffn.scale = keys.expert_scale();
  ModelConfig config = keys.model_with_dense_blocks(dense, moe);
  config.output_required = true;
  return config;
}

}  // namespace steelyard::model
