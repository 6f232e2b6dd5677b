// deepseek2: GLM-4.7-Flash, DeepSeek-V2 and V3, Kimi-K2.
//
// Multi-head latent attention, one shared expert beside routed ones, the first blocks dense.
#include <cmath>

#include "model/architecture.h"

namespace steelyard {
namespace {

AttentionConfig read_attention(const ModelKeys& keys) {
  if (!keys.contains("attention.key_length_mla")) {
    keys.reject("attention.key_length_mla", "is missing: files of the old layout (attn_kv_b) must be converted anew");
  }
  AttentionConfig attention;
  attention.mixer = Mixer::kLatent;
  attention.n_head = keys.count("attention.head_count");
  attention.n_head_kv = 1;
  attention.head_k = keys.count("attention.key_length_mla");
  attention.head_v = keys.count("attention.value_length_mla");
  attention.q_lora_rank = keys.count("attention.q_lora_rank", 0);
  attention.kv_lora_rank = keys.count("attention.kv_lora_rank");
  attention.rope = keys.rope(64);
  if (attention.rope.n_dims < 1 || attention.rope.n_dims >= attention.head_k) {
    keys.reject("rope.dimension_count", "is {}, expected less than the head width {}", attention.rope.n_dims,
                attention.head_k);
  }

  // YaRN with mscale_all_dim m (the file holds 0.1 m): the magnitude of cos and sin cancels and 1 + 0.1 m ln f goes
  // squared into the score scale (DeepSeek-V3's modeling code). Without the key the magnitude does both.
  double score_magnitude = attention.rope.magnitude;
  if (attention.rope.scaling == RopeScaling::kYarn && keys.contains("rope.scaling.yarn_log_multiplier")) {
    score_magnitude = 1.0 + keys.positive("rope.scaling.yarn_log_multiplier") * std::log(attention.rope.factor);
    attention.rope.magnitude = 1.0;
  }
  attention.scale =
      static_cast<float>(score_magnitude * score_magnitude / std::sqrt(static_cast<double>(attention.head_k)));
  return attention;
}

// The first GLM-4.7-Flash files lack the gating key; they are known by depth and vocabulary.
Gating read_gating(const ModelKeys& keys, const ModelConfig& config) {
  const size_t depth = config.layers.size();
  const bool glm = (depth == 47 || depth == 48) && config.n_vocab == 154880;
  const int64_t code = keys.count("expert_gating_func", 0);
  if (code == 0) return glm ? Gating::kSigmoid : Gating::kSoftmax;
  if (code > 2) keys.reject("expert_gating_func", "is {}, expected 1 (softmax) or 2 (sigmoid)", code);
  return static_cast<Gating>(code);
}

}  // namespace

ModelConfig read_deepseek2(const ModelKeys& keys) {
  LayerConfig dense;
  dense.attention = read_attention(keys);
  dense.ffn.n_ff = keys.count("feed_forward_length");
  ModelConfig config = keys.model(dense);

  FfnConfig moe = keys.experts();
  moe.n_ff = keys.count("expert_feed_forward_length");
  moe.n_ff_shared = moe.n_ff * keys.count("expert_shared_count");
  moe.gating = read_gating(keys, config);
  moe.normalize = keys.boolean("expert_weights_norm", false);
  const double scale = keys.non_negative("expert_weights_scale", 0.0);
  moe.scale = scale == 0.0 ? 1.0f : static_cast<float>(scale);  // 0 means none

  const auto n_dense = static_cast<size_t>(keys.count("leading_dense_block_count", 0));
  if (moe.n_expert == 0 && n_dense < config.layers.size()) keys.reject("expert_count", "is 0 in a model with experts");
  for (size_t i = n_dense; i < config.layers.size(); ++i) config.layers[i].ffn = moe;
  return config;
}

}  // namespace steelyard
