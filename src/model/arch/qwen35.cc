// qwen35: Qwen 3.5 to 3.8, dense.
//
// qwen35moe with a dense FFN.
#include "model/architecture.h"

namespace steelyard::model {

ModelConfig read_qwen_hybrid(const ModelKeys& keys, const FfnConfig& ffn);
void tile_value_heads(const ModelKeys& keys, ModelConfig& config);

ModelConfig read_qwen35(const ModelKeys& keys) {
  FfnConfig ffn;
  ffn.n_ff = keys.count("feed_forward_length");
  ModelConfig config = read_qwen_hybrid(keys, ffn);
  tile_value_heads(keys, config);
  return config;
}

}  // namespace steelyard::model
