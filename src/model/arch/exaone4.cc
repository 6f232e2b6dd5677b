// exaone4: EXAONE 4.
//
// Norms after the branches instead of before them; queries and keys are normed per head. The 32B model of 64 blocks has
// a sliding window in three of four, and no RoPE in the others. The smaller ones do not read the window.
#include "model/architecture.h"

namespace steelyard::model {

ModelConfig read_exaone4(const ModelKeys& keys) {
  LayerConfig layer;
  layer.attention = keys.fully_rotated_attention(compute::RopePairs::kNeox);
  layer.ffn.n_ff = keys.count("feed_forward_length");
  layer.input_norms = false;
  layer.branch_norms = true;
  layer.required = {"attn_q_norm.weight", "attn_k_norm.weight"};
  ModelConfig config = keys.model(layer);
  constexpr size_t kWindowedDepth = 64;
  if (config.layers.size() != kWindowedDepth) return config;

  AttentionConfig local = layer.attention, full = layer.attention;
  local.window = keys.count("attention.sliding_window", 4096);
  full.rope.n_dims = 0;
  const std::vector<bool> windowed = keys.windowed(config.layers.size(), 4);
  for (size_t i = 0; i < config.layers.size(); ++i) config.layers[i].attention = windowed[i] ? local : full;
  for (LayerConfig& block : config.prediction) block.attention = full;
  return config;
}

}  // namespace steelyard::model
