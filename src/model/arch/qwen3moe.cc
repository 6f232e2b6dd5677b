// qwen3moe: Qwen 3 with experts (30B-A3B, 235B-A22B, Coder).
//
// Attention as qwen3; experts in every block by softmax over all, renormalised. Gating keys are not read.
#include "model/architecture.h"

namespace steelyard::model {

ModelConfig read_qwen3moe(const ModelKeys& keys) {
  LayerConfig layer;
  layer.attention = keys.fully_rotated_attention(compute::RopePairs::kNeox);
  layer.ffn = keys.required_experts();
  layer.ffn.gating = compute::Gating::kSoftmax;
  layer.ffn.normalize = true;
  layer.required = {"attn_q_norm.weight", "attn_k_norm.weight"};
  return keys.model(layer);
}

}  // namespace steelyard::model
