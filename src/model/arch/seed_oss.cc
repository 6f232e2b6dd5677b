// seed_oss: Seed-OSS.
//
// As qwen2: biases on queries, keys and values.
#include "model/architecture.h"

namespace steelyard::model {

ModelConfig read_seed_oss(const ModelKeys& keys) {
  LayerConfig layer;
  layer.attention = keys.fully_rotated_attention(compute::RopePairs::kNeox);
  layer.ffn.n_ff = keys.count("feed_forward_length");
  layer.ffn_norm = "post_attention_norm";  // the norm before the FFN, whatever its name
  return keys.model(layer);
}

}  // namespace steelyard::model
