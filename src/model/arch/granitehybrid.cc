// granitehybrid: Granite 4.
//
// Mamba 2 in most layers, in the others grouped attention, mostly without RoPE; in every layer an FFN, or experts by
// softmax over all, renormalised, and a shared one. Embeddings, scores, branches and logits are scaled.
#include "model/architecture.h"

namespace steelyard::model {
namespace {

FfnConfig read_ffn(const ModelKeys& keys) {
  FfnConfig ffn = keys.experts();
  ffn.n_ff = keys.count("feed_forward_length");
  if (ffn.n_expert == 0) return ffn;
  ffn.gating = compute::Gating::kSoftmax;
  ffn.normalize = true;
  ffn.n_ff_shared = keys.count("expert_shared_feed_forward_length", 0);
  return ffn;
}

}  // namespace

ModelConfig read_granitehybrid(const ModelKeys& keys) {
  LayerConfig layer;
  const bool rotated = keys.boolean("rope.scaling.finetuned", true);
  layer.attention = rotated ? keys.attention(compute::RopePairs::kNorm) : keys.unrotated_attention();
  layer.attention.scale = static_cast<float>(keys.positive_or("attention.scale", layer.attention.scale));
  if (!keys.has_attention()) {
    layer.attention.mixer = Mixer::kStateSpace;
    layer.attention.state_space = keys.state_space();
  }
  layer.ffn = read_ffn(keys);
  layer.branch_scale = static_cast<float>(keys.positive_or("residual_scale", 1.0));
  ModelConfig config = keys.model(layer);
  config.embedding_scale = static_cast<float>(keys.positive_or("embedding_scale", 1.0));
  config.logit_scale = static_cast<float>(1.0 / keys.positive_or("logit_scale", 1.0));
  return config;
}

}  // namespace steelyard::model
