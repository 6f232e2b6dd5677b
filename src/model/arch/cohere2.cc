// cohere2: Command R7B and Command A.
//
// Attention and FFN read the same layer norm and are added together. Three blocks of four have a sliding window and
// RoPE, the others neither. The output is the embedding, whatever the file has.
#include "model/architecture.h"

namespace steelyard::model {

ModelConfig read_cohere2(const ModelKeys& keys) {
  LayerConfig full;
  full.attention = keys.attention(compute::RopePairs::kNorm);
  full.attention.rope.has_factors = false;
  full.ffn.n_ff = keys.count("feed_forward_length");
  full.ffn_norm = "attn_norm";
  full.centered_norms = true;
  LayerConfig local = full;
  full.attention.rope.n_dims = 0;
  local.attention.window = keys.count("attention.sliding_window");

  ModelConfig config = keys.model(full);
  config.streams.kind = StreamsConfig::Kind::kParallel;
  config.streams.n = 2;
  config.centered_norm = true;
  config.output_tied = true;
  config.logit_scale = static_cast<float>(keys.positive("logit_scale"));
  const std::vector<bool> windowed = keys.windowed(config.layers.size(), 4);
  for (size_t i = 0; i < config.layers.size(); ++i) {
    if (windowed[i]) config.layers[i] = local;
  }
  return config;
}

}  // namespace steelyard::model
