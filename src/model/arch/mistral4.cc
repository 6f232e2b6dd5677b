// mistral4: Mistral Small 4.
//
// As deepseek2, with another magnitude of YaRN: 1 + 0.1 ln f, divided by what the score scale has.
#include <algorithm>
#include <cmath>

#include "model/architecture.h"

namespace steelyard::model {

ModelConfig read_deepseek2(const ModelKeys& keys);

ModelConfig read_mistral4(const ModelKeys& keys) {
  ModelConfig config = read_deepseek2(keys);
  const double log_multiplier = keys.non_negative("rope.scaling.yarn_log_multiplier", 0.0);
  for (auto* const layers : {&config.layers, &config.prediction}) {
    for (LayerConfig& layer : *layers) {
      RopeConfig& rope = layer.attention.rope;
      if (rope.scaling != RopeScaling::kYarn || log_multiplier == 0) continue;
      const double log = std::max(0.0, std::log(rope.factor)), ratio = (1.0 + 0.1 * log) / (1.0 + log_multiplier * log);
      rope.magnitude *= ratio;
      layer.attention.scale = static_cast<float>(layer.attention.scale * ratio * ratio);
    }
  }
  return config;
}

}  // namespace steelyard::model
