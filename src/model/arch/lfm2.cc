// lfm2: Liquid AI's LFM2, dense; lfm2moe: with experts.
//
// Short convolutions in most layers, in the others grouped attention with norms of queries and keys. A layer without
// key/value heads is a convolution.
#include "model/architecture.h"

namespace steelyard::model {
namespace {

LayerConfig read_layer(const ModelKeys& keys) {
  LayerConfig layer;
  layer.attention = keys.attention(compute::RopePairs::kNeox);
  layer.required = {"attn_q_norm.weight", "attn_k_norm.weight"};
  if (keys.has_attention()) return layer;
  layer.attention.mixer = Mixer::kShortConv;
  layer.attention.short_conv = {keys.count("embedding_length"), keys.count("shortconv.l_cache")};
  return layer;
}

}  // namespace

ModelConfig read_lfm2(const ModelKeys& keys) {
  LayerConfig layer = read_layer(keys);
  layer.ffn.n_ff = keys.count("feed_forward_length");
  layer.attention.window = keys.count("attention.sliding_window", 0);
  ModelConfig config = keys.model(layer);
  config.output_norm = "token_embd_norm";
  return config;
}

ModelConfig read_lfm2moe(const ModelKeys& keys) {
  const LayerConfig dense = read_layer(keys);
  LayerConfig moe = dense;
  moe.ffn = keys.required_experts();
  moe.ffn.gating = keys.required_gating();
  moe.ffn.normalize = true;
  moe.required.push_back("exp_probs_b.bias");
  ModelConfig config = keys.model_with_dense_blocks(dense, moe);
  config.output_norm = "token_embd_norm";
  return config;
}

}  // namespace steelyard::model
