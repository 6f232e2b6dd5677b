// mimo2: MiMo-V2-Flash.
//
// Grouped attention with key and value heads of different widths, most blocks within a sliding window, with key heads
// and RoPE of their own, and with sinks; its output is scaled. Which blocks have experts is known by their tensors.
#include "model/architecture.h"

namespace steelyard::model {

ModelConfig read_mimo2(const ModelKeys& keys) {
  LayerConfig layer;
  layer.attention = keys.attention(compute::RopePairs::kNeox);
  const double scale = keys.non_negative("attention.value_scale", 0.0);
  if (scale > 0) layer.attention.output_scale = static_cast<float>(scale);
  ModelConfig config = keys.model(layer);
  config.prediction_of_normed = false;
  const AttentionConfig local = keys.windowed_attention(layer.attention, 10000.0);

  FfnConfig moe = keys.required_experts();
  moe.gating = compute::Gating::kSigmoid;
  moe.normalize = true;

  const size_t n_layers = config.layers.size(), n_blocks = n_layers + config.prediction.size();
  const std::vector<bool> windowed = keys.windowed_blocks(n_layers, n_blocks);
  for (size_t i = 0; i < n_blocks; ++i) {
    LayerConfig& block = config.block(i);
    if (windowed[i]) block.attention = local;
    if (keys.has_tensor(i, "ffn_gate_inp.weight"))
      block.ffn = moe;
    else
      block.ffn.n_ff = keys.count("feed_forward_length");
  }
  return config;
}

}  // namespace steelyard::model
