// qwen2moe: Qwen 1.5 and 2 with experts.
//
// Attention as qwen2; experts in every block by softmax over all, not renormalised, and a gated shared expert.
#include "model/architecture.h"

namespace steelyard::model {

ModelConfig read_qwen2moe(const ModelKeys& keys) {
  LayerConfig layer;
  layer.attention = keys.fully_rotated_attention(compute::RopePairs::kNeox);
  layer.ffn = keys.required_experts();
  layer.ffn.n_ff_shared = keys.count("expert_shared_feed_forward_length", 0);
  if (layer.ffn.n_ff_shared == 0) layer.ffn.n_ff_shared = keys.count("feed_forward_length");
  layer.ffn.shared_gate = true;
  ModelConfig config = keys.model(layer);
  config.output_required = true;
  return config;
}

}  // namespace steelyard::model
