// olmo2: OLMo 2 and 3.
//
// Norms after the branches instead of before them; queries and keys are normed over all heads at once. OLMo 3 has a
// sliding window in three blocks of four, whose RoPE is not scaled.
#include "model/architecture.h"

namespace steelyard::model {

ModelConfig read_olmo2(const ModelKeys& keys) {
  LayerConfig layer;
  layer.attention = keys.fully_rotated_attention(compute::RopePairs::kNeox);
  layer.attention.rope.has_factors = false;
  layer.attention.whole_norm = true;
  layer.ffn.n_ff = keys.count("feed_forward_length");
  layer.input_norms = false;
  layer.branch_norms = true;
  layer.required = {"attn_q_norm.weight", "attn_k_norm.weight"};
  ModelConfig config = keys.model(layer);
  config.output_required = true;

  AttentionConfig local = layer.attention;
  local.window = keys.count("attention.sliding_window", 0);
  if (local.window == 0) return config;
  local.rope.scaling = RopeScaling::kNone;
  local.rope.magnitude = 1;
  const std::vector<bool> windowed = keys.windowed(config.layers.size(), 4);
  for (size_t i = 0; i < config.layers.size(); ++i) {
    if (windowed[i]) config.layers[i].attention = local;
  }
  return config;
}

}  // namespace steelyard::model
