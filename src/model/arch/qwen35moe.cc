// qwen35moe: Qwen 3.5 and 3.6 with experts.
//
// qwen3next with value heads tiled over key heads, with tensors of their own for beta and alpha, and with multi-section
// RoPE.
#include <algorithm>
#include <numeric>

#include "model/architecture.h"

namespace steelyard::model {

ModelConfig read_qwen3next(const ModelKeys& keys);

// What Qwen 3.5 has that qwen3next has not.
void tile_value_heads(const ModelKeys& keys, ModelConfig& config);
void tile_value_heads(const ModelKeys& keys, ModelConfig& config) {
  constexpr const char* kSections = "rope.dimension_sections";
  const std::vector<int64_t> sections = keys.counts(kSections, 4);
  if (std::accumulate(sections.begin(), sections.end(), int64_t{0}) == 0) keys.reject(kSections, "has no pairs");
  for (auto* const layers : {&config.layers, &config.prediction}) {
    for (LayerConfig& layer : *layers) {
      layer.attention.delta_net.tiled = true;
      std::ranges::copy(sections, layer.attention.rope.sections.begin());
    }
  }
}

ModelConfig read_qwen35moe(const ModelKeys& keys) {
  ModelConfig config = read_qwen3next(keys);
  tile_value_heads(keys, config);
  return config;
}

}  // namespace steelyard::model
