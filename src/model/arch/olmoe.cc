// olmoe: OLMoE.
//
// Queries and keys are normed over all heads at once; experts in every block by softmax over all, not renormalised.
#include "model/architecture.h"

namespace steelyard::model {

ModelConfig read_olmoe(const ModelKeys& keys) {
  LayerConfig layer;
  layer.attention = keys.fully_rotated_attention(compute::RopePairs::kNeox);
  layer.attention.whole_norm = true;
  layer.ffn = keys.required_experts();
  layer.ffn.n_ff = keys.count("feed_forward_length");
  layer.required = {"attn_q_norm.weight", "attn_k_norm.weight"};
  ModelConfig config = keys.model(layer);
  config.output_required = true;
  return config;
}

}  // namespace steelyard::model
