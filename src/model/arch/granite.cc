// granite: Granite 3 and 4, dense.
//
// As granitemoe, which it is with experts. Granite 4 without RoPE says so where others tell of a fine-tuned context.
#include "model/architecture.h"

namespace steelyard::model {

ModelConfig read_granitemoe(const ModelKeys& keys);

ModelConfig read_granite(const ModelKeys& keys) {
  ModelConfig config = read_granitemoe(keys);
  if (keys.boolean("rope.scaling.finetuned", true)) return config;
  for (auto* const layers : {&config.layers, &config.prediction}) {
    for (LayerConfig& layer : *layers) layer.attention.rope.n_dims = 0;
  }
  return config;
}

}  // namespace steelyard::model
