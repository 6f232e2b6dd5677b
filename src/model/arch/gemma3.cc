// gemma3: the text part of Gemma 3.
//
// Scaled embeddings, norms before and after both branches, queries and keys normed per head, GeGLU; most blocks within
// a sliding window with RoPE of their own.
#include <cmath>

#include "model/architecture.h"

namespace steelyard::model {

ModelConfig read_gemma3(const ModelKeys& keys) {
  LayerConfig layer;
  layer.attention = keys.attention(compute::RopePairs::kNeox);
  layer.ffn.n_ff = keys.count("feed_forward_length");
  layer.ffn.activation = compute::Activation::kGeglu;
  layer.branch_norms = true;
  layer.required = {"attn_q_norm.weight", "attn_k_norm.weight"};
  ModelConfig config = keys.model(layer);
  config.embedding_scale = std::sqrt(static_cast<float>(config.n_embd));
  config.logit_softcap = static_cast<float>(keys.non_negative("final_logit_softcapping", 0.0));

  AttentionConfig full = layer.attention;
  if (config.layers.size() == 62) {  // the 27B model scales by its width per head instead of its head width
    full.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(config.n_embd / full.n_head)));
  }
  AttentionConfig local = full;
  local.window = keys.count("attention.sliding_window", 0);
  local.rope.freq_base = keys.positive("rope.freq_base_swa", 10000.0);
  local.rope.scaling = RopeScaling::kNone;
  local.rope.magnitude = 1;
  const bool windows = local.window > 0;
  const std::vector<bool> windowed = keys.windowed(config.layers.size(), 6);
  for (size_t i = 0; i < config.layers.size(); ++i) config.layers[i].attention = windows && windowed[i] ? local : full;
  return config;
}

}  // namespace steelyard::model
