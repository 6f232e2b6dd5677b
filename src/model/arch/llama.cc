// llama: Llama 1 to 3, Mistral, SmolLM and relatives; with experts, Mixtral.
//
// Grouped attention with RoPE on consecutive pairs of the whole head, SwiGLU; experts by softmax over all, renormalised.
#include "model/architecture.h"

namespace steelyard {

ModelConfig read_llama(const ModelKeys& keys) {
  LayerConfig layer;
  layer.attention = keys.attention();
  if (layer.attention.rope.n_dims != layer.attention.head_k) {
    keys.reject("rope.dimension_count", "is {}, expected the head width {}", layer.attention.rope.n_dims,
                layer.attention.head_k);
  }
  layer.ffn = keys.experts();
  layer.ffn.n_ff = keys.count("feed_forward_length");
  layer.ffn.gating = Gating::kSoftmax;
  layer.ffn.normalize = true;
  return keys.model(layer);
}

}  // namespace steelyard
