// step35: Step-3.5-Flash.
//
// Grouped attention with a gate per head, some blocks within a sliding window, with heads and RoPE of their own; full
// blocks rotate half as many pairs. Which blocks have experts is known by their tensors. Activations are capped in some
// blocks, those of the shared expert and of dense blocks by other limits than those of routed experts.
#include "model/architecture.h"

namespace steelyard::model {

ModelConfig read_step35(const ModelKeys& keys) {
  LayerConfig layer;
  layer.attention = keys.attention(compute::RopePairs::kNeox);
  layer.attention.output_gate = compute::Gate::kSigmoid;
  ModelConfig config = keys.model(layer);
  config.prediction_of_normed = false;

  AttentionConfig local = keys.windowed_attention(layer.attention, 10000.0), full = layer.attention;
  local.rope.has_factors = false;
  if (full.rope.n_dims % 4 != 0)
    keys.reject("rope.dimension_count", "is {}, expected a multiple of 4: full blocks rotate half", full.rope.n_dims);
  full.rope.n_dims /= 2;

  FfnConfig moe = keys.required_experts();
  moe.n_ff_shared = keys.count("expert_shared_feed_forward_length", 0);
  moe.gating = keys.gating().value_or(compute::Gating::kSigmoid);
  moe.normalize = keys.boolean("expert_weights_norm", false);
  moe.scale = keys.expert_scale();

  const size_t n_layers = config.layers.size(), n_blocks = n_layers + config.prediction.size();
  const std::vector<bool> windowed = keys.windowed_blocks(n_layers, n_blocks);
  const std::vector<float> limits = keys.limits("swiglu_clamp_exp", n_blocks);
  const std::vector<float> other_limits = keys.limits("swiglu_clamp_shexp", n_blocks);
  const auto activation = [](float limit) {
    return limit > 0 ? compute::Activation(compute::Activation::kCappedSwiglu, limit) : compute::Activation();
  };
  for (size_t i = 0; i < n_blocks; ++i) {
    LayerConfig& block = config.block(i);
    block.attention = windowed[i] ? local : full;
    if (keys.has_tensor(i, "ffn_gate_inp.weight")) {
      block.ffn = moe;
      block.ffn.activation = activation(limits[i]);
      block.ffn.shared_activation = activation(other_limits[i]);
    } else {
      block.ffn.n_ff = keys.count("feed_forward_length");
      block.ffn.activation = activation(other_limits[i]);
    }
  }
  return config;
}

}  // namespace steelyard::model
