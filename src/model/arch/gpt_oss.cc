// gpt-oss: 20b and 120b.
//
// Grouped attention with biases and a sink per head, every other block within a sliding window; experts with biases, a
// clamped activation, and weights by softmax over the chosen.
#include <cmath>

#include "model/architecture.h"

namespace steelyard::model {

ModelConfig read_gpt_oss(const ModelKeys& keys) {
  LayerConfig layer;
  layer.attention = keys.attention(compute::RopePairs::kNeox);
  // RoPE's width is that of every head.
  layer.attention.head_k = layer.attention.head_v = layer.attention.rope.n_dims;
  layer.attention.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(layer.attention.head_k)));
  layer.ffn = keys.required_experts();
  layer.ffn.activation = compute::Activation::kClampedSwiglu;
  layer.ffn.gating = compute::Gating::kSoftmaxWeight;
  layer.ffn_norm = "post_attention_norm";  // the norm before the FFN, whatever its name
  layer.required = {"attn_output.bias",   "attn_sinks.weight", "ffn_gate_inp.bias",
                    "ffn_gate_exps.bias", "ffn_up_exps.bias",  "ffn_down_exps.bias"};
  ModelConfig config = keys.model(layer);
  config.output_required = true;

  AttentionConfig local = layer.attention;
  local.window = keys.count("attention.sliding_window");
  local.rope.freq_base = keys.positive("rope.freq_base_swa", local.rope.freq_base);
  const std::vector<bool> windowed = keys.windowed(config.layers.size(), 2);
  for (size_t i = 0; i < config.layers.size(); ++i) {
    if (windowed[i]) config.layers[i].attention = local;
  }
  return config;
}

}  // namespace steelyard::model
