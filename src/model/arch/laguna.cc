// laguna: Poolside XS.2, S.2, M.1.
//
// Grouped attention with a gate per head or per value; in some models all blocks but every fourth are within a sliding
// window, with heads and RoPE of their own. One shared expert beside routed ones, the first blocks dense.
#include "model/architecture.h"

namespace steelyard::model {

ModelConfig read_laguna(const ModelKeys& keys) {
  keys.count_or_zero("leading_dense_block_count");
  LayerConfig dense;
  dense.attention = keys.attention(compute::RopePairs::kNeox);
  dense.attention.output_gate = compute::Gate::kSoftplus;
  dense.required = {"attn_q_norm.weight", "attn_k_norm.weight", "attn_gate.weight"};
  LayerConfig moe = dense;
  moe.ffn = keys.required_experts();
  moe.ffn.n_ff_shared =
      keys.count("expert_shared_feed_forward_length", moe.ffn.n_ff * keys.count("expert_shared_count", 1));
  moe.ffn.gating = keys.gating().value_or(compute::Gating::kSigmoid);
  moe.ffn.normalize = keys.boolean("expert_weights_norm", false);
  moe.ffn.scale = keys.expert_scale();
  moe.required.emplace_back("exp_probs_b.bias");
  ModelConfig config = keys.model_with_dense_blocks(dense, moe);

  if (keys.count("attention.sliding_window", 0) == 0) return config;
  const AttentionConfig local = keys.windowed_attention(dense.attention, dense.attention.rope.freq_base);
  const std::vector<bool> windowed = keys.windowed(config.layers.size(), 4, ModelKeys::Full::kFirst);
  for (size_t i = 0; i < config.layers.size(); ++i) {
    if (windowed[i]) config.layers[i].attention = local;
  }
  return config;
}

}  // namespace steelyard::model
