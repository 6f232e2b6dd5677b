// kimi-linear: Kimi Linear; kimi-k3: Kimi K3.
//
// Kimi delta attention in most layers, multi-head latent attention without RoPE in the others; a layer without
// key/value heads is of the former. The first blocks are dense, the others have experts beside shared ones. Kimi K3
// reads every branch's input from a mixture of the residual stream and of states that it had every few blocks, bounds
// decays and activations, and has its experts work in a narrower space.
#include <algorithm>

#include "model/architecture.h"

namespace steelyard::model {
namespace {

LayerConfig read_layer(const ModelKeys& keys) {
  LayerConfig layer;
  layer.attention = keys.unrotated_latent_attention();
  if (keys.has_attention()) return layer;
  layer.attention.mixer = Mixer::kKimiDelta;
  layer.attention.kimi_delta = keys.kimi_delta(layer.attention.n_head);
  return layer;
}

FfnConfig read_experts(const ModelKeys& keys) {
  FfnConfig ffn = keys.required_experts();
  ffn.n_ff_shared = ffn.n_ff * keys.shared_experts();
  ffn.gating = keys.required_gating();
  ffn.normalize = true;
  ffn.scale = keys.expert_scale();
  return ffn;
}

// Every `block_size` blocks begin by putting the residual stream aside.
void add_banks(const ModelKeys& keys, ModelConfig& config) {
  constexpr const char* kBlock = "attn_res.block_size";
  const auto block_size = static_cast<size_t>(keys.contains(kBlock) ? keys.count(kBlock, 0) : keys.count(kBlock));
  if (block_size == 0) return;
  int64_t n_banked = 0;
  for (size_t i = 0; i < config.layers.size(); ++i) {
    config.layers[i].n_banked = n_banked;
    config.layers[i].banks = i % block_size == 0;
    if (config.layers[i].banks) ++n_banked;
  }
  config.streams.kind = StreamsConfig::Kind::kBanked;
  config.streams.n = 1 + n_banked;
}

}  // namespace

ModelConfig read_kimi_linear(const ModelKeys& keys) {
  const LayerConfig dense = read_layer(keys);
  LayerConfig moe = dense;
  moe.ffn = read_experts(keys);
  moe.required = {"exp_probs_b.bias"};
  return keys.model_with_dense_blocks(dense, moe);
}

ModelConfig read_kimi_k3(const ModelKeys& keys) {
  LayerConfig dense = read_layer(keys);
  dense.attention.output_gate = compute::Gate::kSigmoid;
  dense.attention.q_lora_rank = keys.count("attention.q_lora_rank", 0);
  dense.attention.output_gate = compute::Gate::kSigmoid;
  const auto linear_beta = static_cast<float>(keys.number("activation.situ_linear_beta"));
  dense.ffn.activation = {compute::Activation::kSitu, static_cast<float>(keys.positive("activation.situ_beta")),
                          std::max(0.0f, linear_beta)};
  LayerConfig moe = dense;
  moe.ffn = read_experts(keys);
  moe.ffn.activation = dense.ffn.activation;
  moe.ffn.normalize = keys.boolean("expert_weights_norm", false);
  moe.ffn.n_latent = keys.count("expert_latent_length", 0);
  moe.ffn.latent = "ffn_routed";
  moe.required = {"exp_probs_b.bias"};
  ModelConfig config = keys.model_with_dense_blocks(dense, moe);
  add_banks(keys, config);
  return config;
}

}  // namespace steelyard::model
