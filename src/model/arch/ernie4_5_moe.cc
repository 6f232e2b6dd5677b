// ernie4_5-moe: ERNIE 4.5 with experts.
//
// As llama; from some block on, every so-many-th has experts by softmax over all, renormalised, and a shared expert.
#include "model/architecture.h"

namespace steelyard::model {

ModelConfig read_ernie4_5(const ModelKeys& keys);

ModelConfig read_ernie4_5_moe(const ModelKeys& keys) {
  ModelConfig config = read_ernie4_5(keys);
  FfnConfig experts = keys.required_experts();
  experts.n_ff_shared = keys.count("expert_shared_feed_forward_length", 0);
  experts.normalize = true;
  const auto n_dense = static_cast<size_t>(keys.count("leading_dense_block_count", 0));
  const auto step = static_cast<size_t>(keys.count("interleave_moe_layer_step"));
  for (size_t i = n_dense; i < config.layers.size(); ++i) {
    if ((i + 1) % step == 0) config.layers[i].ffn = experts;
  }
  return config;
}

}  // namespace steelyard::model
