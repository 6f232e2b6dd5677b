#include "calibrate/part_activations.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "base/saturating.h"
#include "calibrate/layer_stages.h"
#include "gguf/block_name.h"

namespace steelyard::calibrate {
namespace {

struct Part {
  uint64_t values = 0;
  std::set<std::pair<uint64_t, uint64_t>> inputs;  // of the FFN, by columns and rows for a token
};

}  // namespace

uint64_t part_bytes_per_token(std::span<const gguf::TensorInfo> tensors, const model::ModelConfig& config) {
  std::map<std::pair<size_t, model::LayerPart>, Part> parts;
  for (const gguf::TensorInfo& tensor : tensors) {
    const auto block = gguf::block_of(tensor.name);
    if (!block || *block < 0 || static_cast<size_t>(*block) >= config.layers.size() || tensor.n_dims < 2) continue;
    const model::FfnConfig& ffn = config.layers[static_cast<size_t>(*block)].ffn;
    const int stage = stage_of(tensor.name);
    const bool routed = tensor.ne[2] > 1 && tensor.ne[2] == ffn.n_expert;
    const auto rows = static_cast<uint64_t>(routed ? ffn.n_used : tensor.ne[2]);
    const auto n_in = static_cast<uint64_t>(tensor.ne[0]);
    // Experts' outputs, and where they have scales of their own, those.
    const uint64_t n_out = saturating_mul(static_cast<uint64_t>(tensor.ne[1]), routed && ffn.own_norms ? 2 : 1);
    Part& part = parts[{static_cast<size_t>(*block), part_of(stage)}];
    const bool is_new = !is_ffn_input(stage) || part.inputs.emplace(n_in, rows).second;
    part.values = saturating_add(part.values, saturating_mul(rows, is_new ? saturating_add(n_in, n_out) : n_out));
  }
  uint64_t most = 0;
  for (const auto& [at, part] : parts) most = std::max(most, part.values);
  // Where a branch begins and ends: what it reads of the streams, normed, and what it adds.
  const uint64_t ends = saturating_mul(2, static_cast<uint64_t>(config.hidden_width()));
  return saturating_mul(saturating_add(most, ends), sizeof(float));
}

}  // namespace steelyard::calibrate
