// mistral3: Ministral 3, Devstral 2 and relatives; with experts by softmax over all, renormalised.
//
// As llama, with YaRN's numbers in the file, and queries that are scaled up beyond the original context.
#include <algorithm>
#include <cmath>

#include "model/architecture.h"

namespace steelyard::model {

ModelConfig read_mistral3(const ModelKeys& keys) {
  LayerConfig layer;
  layer.attention = keys.fully_rotated_attention(compute::RopePairs::kNorm);
  RopeConfig& rope = layer.attention.rope;
  rope.beta_fast = keys.positive("rope.scaling.yarn_beta_fast", rope.beta_fast);
  rope.beta_slow = keys.positive("rope.scaling.yarn_beta_slow", rope.beta_slow);
  // YaRN's magnitude is 1 + 0.1 ln f; with mscale_all_dim m it is divided by 1 + 0.1 m ln f.
  const double all_dims = keys.non_negative("rope.scaling.yarn_log_multiplier", 0.0);
  if (rope.scaling == RopeScaling::kYarn) rope.magnitude /= 1.0 + 0.1 * all_dims * std::max(0.0, std::log(rope.factor));
  layer.attention.temperature = static_cast<float>(keys.non_negative("attention.temperature_scale", 0.0));
  layer.attention.temperature_length = rope.original_context;
  layer.ffn = keys.experts();
  layer.ffn.n_ff = keys.count("feed_forward_length");
  layer.ffn.normalize = true;
  return keys.model(layer);
}

}  // namespace steelyard::model
