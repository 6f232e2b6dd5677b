// llama: Llama 1 to 3, Mistral, SmolLM and relatives; with experts, Mixtral.
//
// Grouped attention with RoPE on consecutive pairs of the whole head, SwiGLU; experts by softmax over all,
// renormalised.
#include "model/architecture.h"

namespace steelyard::model {

ModelConfig read_llama(const ModelKeys& keys) {
  LayerConfig layer;
  layer.attention = keys.fully_rotated_attention(compute::RopePairs::kNorm);
  layer.ffn = keys.experts();
  layer.ffn.n_ff = keys.count("feed_forward_length");
  layer.ffn.gating = compute::Gating::kSoftmax;
  layer.ffn.normalize = true;
  return keys.model(layer);
}

}  // namespace steelyard::model
