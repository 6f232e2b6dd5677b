// minimax-m3: MiniMax M3.
//
// Grouped attention with RoPE on part of the head, queries and keys normed per head; a clamped activation everywhere,
// one shared expert beside routed ones, the first blocks dense. Blocks with experts attend to chosen blocks of
// positions, which is every position of a text that is not too long; no other texts are computed.
#include "model/architecture.h"

namespace steelyard::model {

ModelConfig read_minimax_m3(const ModelKeys& keys) {
  LayerConfig dense;
  dense.attention = keys.attention(compute::RopePairs::kNeox);
  dense.ffn.activation = compute::Activation::kClampedSwiglu;
  dense.required = {"attn_q_norm.weight", "attn_k_norm.weight"};
  LayerConfig moe = dense;
  IndexerConfig& indexer = moe.attention.indexer;
  indexer.kind = IndexerConfig::Kind::kBlocks;
  indexer.n_head = keys.count("attention.indexer.head_count");
  indexer.head = keys.count("attention.indexer.key_length");
  indexer.n_best = keys.count("attention.indexer.top_k");
  indexer.block = keys.count("attention.indexer.block_size");
  keys.count_or_zero("attention.indexer.local_blocks");
  moe.ffn = keys.required_experts();
  moe.ffn.activation = compute::Activation::kClampedSwiglu;
  moe.ffn.n_ff_shared = moe.ffn.n_ff * keys.shared_experts();
  const std::optional<compute::Gating> gating = keys.gating();
  if (!gating) keys.reject("expert_gating_func", "is missing");
  moe.ffn.gating = *gating;
  moe.ffn.normalize = keys.boolean("expert_weights_norm", false);
  moe.ffn.scale = keys.expert_scale();
  moe.required.emplace_back("exp_probs_b.bias");
  return keys.model_with_dense_blocks(dense, moe);
}

}  // namespace steelyard::model
