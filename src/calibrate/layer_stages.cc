// Stages follow from the names that llama.cpp gives to tensors.
#include "calibrate/layer_stages.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "gguf/block_name.h"

namespace steelyard::calibrate {

// Attention and state-space mixers, then their output; gate and up of the FFN, then its output. How a branch reads the
// residual streams (hc_) comes with what reads its input.
int stage_of(std::string_view tensor) {
  const auto has = [&](std::string_view part) { return tensor.find(part) != tensor.npos; };
  if (has(".ffn_") || has(".hc_ffn_")) return has(".ffn_down") ? 3 : 2;
  return has(".attn_output") || has(".ssm_out") ? 1 : 0;
}

model::LayerPart part_of(int stage) { return stage < 2 ? model::LayerPart::kMixer : model::LayerPart::kFfn; }

// Of watched and of held-out inputs, both sums and cross_covariance. Routed experts of one stage and shape read the
// same rows.
uint64_t hessian_bytes(const plan::Resolution& resolution) {
  std::map<std::pair<int64_t, int>, uint64_t> of_stage;
  std::set<std::tuple<int64_t, int, int64_t, int64_t>> routed;
  uint64_t most = 0;
  for (const plan::Decision& decision : resolution.decisions) {
    const gguf::TensorInfo& tensor = *decision.tensor;
    const auto layer = gguf::block_of(tensor.name);
    if (!layer || tensor.n_dims < 2 || decision.type == tensor.type) continue;
    const int stage = stage_of(tensor.name);
    const int64_t n = tensor.ne[0], n_slices = tensor.ne[2];
    if (n_slices > 1 && !routed.insert({*layer, stage, n, n_slices}).second) continue;
    uint64_t& bytes = of_stage[{*layer, stage}];
    bytes += 4 * static_cast<uint64_t>(n_slices * n * n) * sizeof(float);
    most = std::max(most, bytes);
  }
  return most;
}

}  // namespace steelyard::calibrate
