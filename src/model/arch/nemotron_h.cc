// nemotron_h: Nemotron-H, Nemotron Nano 2; nemotron_h_moe: Nemotron 3 with experts.
//
// Each layer is one branch: Mamba 2, grouped attention without RoPE, or an FFN with squared ReLU and no gate. Experts
// may work in a narrower space. A layer with an FFN is that alone, one without key/value heads is Mamba 2. The block
// for prediction is attention and FFN in one.
#include "model/architecture.h"

namespace steelyard::model {
namespace {

constexpr const char* kWidth = "feed_forward_length";

FfnConfig read_experts(const ModelKeys& keys) {
  FfnConfig ffn = keys.required_experts();
  ffn.gating = compute::Gating::kSigmoid;
  ffn.normalize = keys.boolean("expert_weights_norm", false);
  ffn.scale = keys.expert_scale();
  ffn.n_ff_shared = keys.count("expert_shared_feed_forward_length", 0);
  ffn.n_latent = keys.count("moe_latent_size", 0);
  return ffn;
}

FfnConfig read_ffn(const ModelKeys& keys, bool experts) {
  FfnConfig ffn;
  if (experts)
    ffn = read_experts(keys);
  else
    ffn.n_ff = keys.count(kWidth);
  ffn.activation = compute::Activation::kReluSquared;
  return ffn;
}

ModelConfig read(const ModelKeys& keys, bool experts) {
  LayerConfig attention;
  attention.attention = keys.unrotated_attention();
  attention.attention.scale = static_cast<float>(keys.positive_or("attention.scale", attention.attention.scale));
  const bool has_ffn = keys.count(kWidth, 0) > 0;

  LayerConfig layer = attention;
  if (has_ffn) {
    layer.attention.mixer = Mixer::kNone;
    layer.ffn = read_ffn(keys, experts);
    layer.ffn_norm = "attn_norm";
    if (experts) layer.required = {"exp_probs_b.bias"};
  } else if (!keys.has_attention()) {
    layer.attention.mixer = Mixer::kStateSpace;
    layer.attention.state_space = keys.state_space();
    layer.required = {"ssm_conv1d.bias"};
  }
  ModelConfig config = keys.model(layer);
  config.centered_prediction = true;
  for (LayerConfig& block : config.prediction) {
    block = attention;
    block.ffn_norm = "post_attention_norm";
    if (has_ffn) block.ffn = read_ffn(keys, experts);
  }
  return config;
}

}  // namespace

ModelConfig read_nemotron_h(const ModelKeys& keys) { return read(keys, false); }

ModelConfig read_nemotron_h_moe(const ModelKeys& keys) { return read(keys, true); }

}  // namespace steelyard::model
