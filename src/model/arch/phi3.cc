// phi3: Phi 3 and 4.
//
// RoPE on a part of the head or all of it, with longrope's factors where the file has them; gate and up of the FFN are
// one tensor. The sliding window of some files is never used.
#include "model/architecture.h"

namespace steelyard::model {

ModelConfig read_phi3(const ModelKeys& keys) {
  LayerConfig layer;
  layer.attention = keys.attention(compute::RopePairs::kNeox);
  // Most files do not say that it is longrope.
  RopeConfig& rope = layer.attention.rope;
  rope.factors_optional = rope.scaling != RopeScaling::kLongrope;
  if (rope.scaling == RopeScaling::kNone || rope.scaling == RopeScaling::kLinear) rope.scaling = RopeScaling::kLongrope;
  layer.ffn.n_ff = keys.count("feed_forward_length");
  layer.ffn.fused = true;
  return keys.model(layer);
}

}  // namespace steelyard::model
