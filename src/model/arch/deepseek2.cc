// deepseek2: GLM-4.7-Flash, DeepSeek-V2 and V3, Kimi-K2.
//
// Multi-head latent attention, one shared expert beside routed ones, the first blocks dense.
#include <cmath>

#include "model/architecture.h"

namespace steelyard::model {
namespace {

// The lite models (DeepSeek-V2-Lite, GigaChat3, Kanana-2) are recognized by depth and vocabulary; their q LoRA key is
// not read.
bool is_lite(size_t depth, int64_t n_vocab) { return depth == 26 || depth == 27 || (depth == 48 && n_vocab == 128256); }

AttentionConfig read_attention(const ModelKeys& keys) {
  AttentionConfig attention;
  attention.mixer = Mixer::kLatent;
  attention.n_head = keys.count("attention.head_count");
  // Files of the old layout give the width of expanded heads and lack the keys of the absorbed form.
  attention.expanded = !keys.contains("attention.key_length_mla") && !keys.contains("attention.value_length_mla");
  attention.n_head_kv = attention.expanded ? attention.n_head : 1;
  attention.head_k = keys.count(attention.expanded ? "attention.key_length" : "attention.key_length_mla");
  attention.head_v = keys.count(attention.expanded ? "attention.value_length" : "attention.value_length_mla");
  attention.q_lora_rank = keys.count("attention.q_lora_rank", 0);
  attention.kv_lora_rank = keys.count("attention.kv_lora_rank");
  attention.rope = keys.rope(compute::RopePairs::kNorm, 0);
  if (attention.rope.n_dims >= attention.head_k) {
    keys.reject("rope.dimension_count", "is {}, expected less than the head width {}", attention.rope.n_dims,
                attention.head_k);
  }
  attention.temperature = static_cast<float>(keys.non_negative("attention.temperature_scale", 0.0));
  if (attention.temperature != 0) attention.temperature_length = keys.count("attention.temperature_length");

  // YaRN with mscale_all_dim m (the file holds 0.1 m): the magnitude of cos and sin cancels out, and 1 + 0.1 m ln f is
  // squared in the score scale (DeepSeek-V3's modeling code). Without the key the magnitude does both.
  double score_magnitude = attention.rope.magnitude;
  const double log_multiplier = keys.non_negative("rope.scaling.yarn_log_multiplier", 0.0);
  if (attention.rope.scaling == RopeScaling::kYarn && log_multiplier > 0) {
    attention.rope.magnitude = keys.positive("rope.scaling.attn_factor", 1.0);
    score_magnitude = attention.rope.magnitude * (1.0 + log_multiplier * std::log(attention.rope.factor));
  }
  attention.scale =
      static_cast<float>(score_magnitude * score_magnitude / std::sqrt(static_cast<double>(attention.head_k)));
  return attention;
}

}  // namespace

ModelConfig read_deepseek2(const ModelKeys& keys) {
  LayerConfig dense;
  dense.attention = read_attention(keys);
  LayerConfig moe = dense;
  moe.ffn = keys.required_experts();
  moe.ffn.n_ff_shared = moe.ffn.n_ff * keys.shared_experts();
  moe.ffn.normalize = keys.boolean("expert_weights_norm", false);
  moe.ffn.scale = keys.expert_scale();
  ModelConfig config = keys.model_with_dense_blocks(dense, moe);

  // The first GLM-4.7-Flash files lack the gating key. They are recognized by depth and vocabulary.
  const size_t depth = config.layers.size();
  const bool glm = (depth == 47 || depth == 48) && config.n_vocab == 154880;
  const compute::Gating gating = keys.gating().value_or(glm ? compute::Gating::kSigmoid : compute::Gating::kSoftmax);
  const bool lite = is_lite(depth, config.n_vocab);
  for (auto* const layers : {&config.layers, &config.prediction}) {
    for (LayerConfig& layer : *layers) {
      layer.ffn.gating = gating;
      if (lite) layer.attention.q_lora_rank = 0;
    }
  }
  return config;
}

}  // namespace steelyard::model
