// granitemoe: Granite 3 with experts.
//
// As llama or Mixtral, with scaled embeddings, branches, scores and logits.
#include "model/architecture.h"

namespace steelyard::model {
namespace {

// 0 is as good as absent.
float scale(const ModelKeys& keys, std::string_view key, float absent) {
  const auto value = static_cast<float>(keys.non_negative(key, 0.0));
  return value == 0 ? absent : value;
}

}  // namespace

ModelConfig read_granitemoe(const ModelKeys& keys) {
  LayerConfig layer;
  layer.attention = keys.fully_rotated_attention(compute::RopePairs::kNorm);
  layer.attention.scale = scale(keys, "attention.scale", layer.attention.scale);
  layer.branch_scale = scale(keys, "residual_scale", 1);
  layer.ffn = keys.experts();
  layer.ffn.n_ff = keys.count("feed_forward_length");
  layer.ffn.normalize = true;
  if (layer.ffn.n_expert > 0) layer.ffn.n_ff_shared = keys.count("expert_shared_feed_forward_length", 0);
  ModelConfig config = keys.model(layer);
  config.embedding_scale = scale(keys, "embedding_scale", 1);
  config.logit_scale = static_cast<float>(1.0 / keys.positive("logit_scale"));
  return config;
}

}  // namespace steelyard::model
