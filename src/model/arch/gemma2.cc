// gemma2: Gemma 2.
//
// Scaled embeddings, norms before and after both branches, GeGLU, capped scores and logits; every other block within a
// sliding window. The output is the embedding, whatever the file has.
#include <cmath>

#include "model/architecture.h"

namespace steelyard::model {

ModelConfig read_gemma2(const ModelKeys& keys) {
  LayerConfig layer;
  layer.attention = keys.attention(compute::RopePairs::kNeox);
  layer.attention.rope.has_factors = false;
  layer.attention.softcap = static_cast<float>(keys.positive("attn_logit_softcapping", 50.0));
  layer.ffn.n_ff = keys.count("feed_forward_length");
  layer.ffn.activation = compute::Activation::kGeglu;
  layer.branch_norms = true;
  ModelConfig config = keys.model(layer);
  config.embedding_scale = std::sqrt(static_cast<float>(config.n_embd));
  config.logit_softcap = static_cast<float>(keys.positive("final_logit_softcapping", 30.0));
  config.output_tied = true;

  AttentionConfig full = layer.attention;
  if (config.layers.size() == 46) {  // the 27B model scales by its width per head instead of its head width
    full.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(config.n_embd / full.n_head)));
  }
  AttentionConfig local = full;
  local.window = keys.count("attention.sliding_window", 4096);
  local.rope.freq_base = keys.positive("rope.freq_base_swa", local.rope.freq_base);
  const std::vector<bool> windowed = keys.windowed(config.layers.size(), 2);
  for (size_t i = 0; i < config.layers.size(); ++i) config.layers[i].attention = windowed[i] ? local : full;
  return config;
}

}  // namespace steelyard::model
