// glm4moe: GLM-4.5, 4.6, 4.7.
//
// Grouped attention with RoPE on part of the head, norms of queries and keys in the larger models only; one shared
// expert beside routed ones, the first blocks dense.
#include "model/architecture.h"

namespace steelyard::model {

ModelConfig read_glm4moe(const ModelKeys& keys) {
  LayerConfig dense;
  dense.attention = keys.attention(compute::RopePairs::kNeox);
  dense.ffn_norm = "post_attention_norm";  // the norm before the FFN, whatever its name
  LayerConfig moe = dense;
  moe.ffn = keys.required_experts();
  moe.ffn.n_ff_shared = moe.ffn.n_ff * keys.shared_experts();
  moe.ffn.gating = keys.gating().value_or(compute::Gating::kSigmoid);
  moe.ffn.normalize = keys.boolean("expert_weights_norm", false);
  moe.ffn.scale = keys.expert_scale();
  moe.required = {"exp_probs_b.bias"};
  return keys.model_with_dense_blocks(dense, moe);
}

}  // namespace steelyard::model
