// ernie4_5: ERNIE 4.5, dense.
//
// As llama.
#include "model/architecture.h"

namespace steelyard::model {

ModelConfig read_ernie4_5(const ModelKeys& keys) {
  LayerConfig layer;
  layer.attention = keys.fully_rotated_attention(compute::RopePairs::kNorm);
  layer.attention.rope.has_factors = false;
  layer.ffn.n_ff = keys.count("feed_forward_length");
  return keys.model(layer);
}

}  // namespace steelyard::model
