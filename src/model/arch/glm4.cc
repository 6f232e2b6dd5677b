// glm4: GLM-4 (0414), dense.
//
// RoPE on a part of the head, norms before and after both branches; gate and up of the FFN are one tensor.
#include "model/architecture.h"

namespace steelyard::model {

ModelConfig read_glm4(const ModelKeys& keys) {
  LayerConfig layer;
  layer.attention = keys.attention(compute::RopePairs::kNorm);
  layer.attention.rope.has_factors = false;
  // Models that see images split their pairs between time, height and width, which are the same position in text. They
  // also pair columns half a head apart.
  constexpr const char* kSections = "rope.dimension_sections";
  if (keys.contains(kSections)) {
    const std::vector<int64_t> sections = keys.counts(kSections, 4);
    if (sections[0] > 0 && sections[1] > 0) {
      if (sections[0] + sections[1] + sections[2] < layer.attention.rope.n_dims / 2)
        keys.reject(kSections, "leaves pairs to a fourth position, which is not supported");
      layer.attention.rope.pairs = compute::RopePairs::kNeox;
    }
  }
  layer.ffn.n_ff = keys.count("feed_forward_length");
  layer.ffn.fused = true;
  layer.branch_norms = true;
  return keys.model(layer);
}

}  // namespace steelyard::model
