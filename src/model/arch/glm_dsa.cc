// glm-dsa: GLM-5, 5.1, 5.2.
//
// As deepseek32 with other pairs in the indexer's RoPE; some blocks have no indexer and choose as an earlier one did.
#include "model/architecture.h"

namespace steelyard::model {

ModelConfig read_with_indexer(const ModelKeys& keys, compute::RopePairs pairs, float norm_eps);

constexpr const char* kTypes = "attention.indexer.types";

/// Which blocks have an indexer. Models for a million tokens have one in every fourth block, from the third on.
std::vector<bool> indexed_blocks(const ModelKeys& keys, size_t n_layers, int64_t n_context);
std::vector<bool> indexed_blocks(const ModelKeys& keys, size_t n_layers, int64_t n_context) {
  if (const auto given = keys.flags(kTypes, n_layers)) return *given;
  constexpr int64_t kLong = 1048576;
  std::vector<bool> indexed(n_layers, true);
  for (size_t i = 3; n_context >= kLong && i < n_layers; ++i) indexed[i] = i % 4 == 2;
  return indexed;
}

ModelConfig read_glm_dsa(const ModelKeys& keys) {
  ModelConfig config = read_with_indexer(keys, compute::RopePairs::kNorm, 0);
  const compute::Gating gating = keys.gating().value_or(compute::Gating::kSigmoid);
  for (auto* const layers : {&config.layers, &config.prediction}) {
    for (LayerConfig& layer : *layers) layer.ffn.gating = gating;
  }
  const size_t n_layers = config.layers.size();
  const std::vector<bool> types = indexed_blocks(keys, n_layers, config.n_context);
  if (!types[0]) keys.reject(kTypes, "begins with 0: block 0 has no earlier choice");
  for (size_t i = 0; i < n_layers; ++i) {
    AttentionConfig& attention = config.layers[i].attention;
    if (!types[i]) {
      attention.sharing = Sharing::kTakes;
      config.streams.n_side = attention.indexer.side_width();
    } else if (i + 1 < n_layers && !types[i + 1]) {
      attention.sharing = Sharing::kGives;
    }
  }
  return config;
}

}  // namespace steelyard::model
