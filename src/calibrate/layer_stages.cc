// Stages follow from the names that llama.cpp gives to tensors.
#include "calibrate/layer_stages.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "gguf/block_name.h"

namespace steelyard::calibrate {

namespace {

enum Stage {
  kMixerInput,
  kMixerSecond,
  kMixerOutput,
  kLatentInput,
  kFfnInput,
  kFfnOutput,
  kLatentOutput,
  kEmbeddingInput,
  kEmbeddingOutput
};
static_assert(kEmbeddingOutput + 1 == kStages);

struct Role {
  std::string_view part;  // of the name
  Stage stage;
};

// The first part that a name has counts.
constexpr Role kRoles[] = {
    {".indexer.", kMixerInput},
    // of the layer's own embedding, after the FFN
    {".inp_gate", kEmbeddingInput},
    {".proj.weight", kEmbeddingOutput},
    // of a mixer, its output, which may be two products
    {".attn_output_a", kMixerSecond},
    {".attn_output", kMixerOutput},
    {".ssm_out", kMixerOutput},
    {".shortconv.out_proj", kMixerOutput},
    // the second of two projections by way of a narrow space
    {".ssm_f_b", kMixerSecond},
    {".ssm_g_b", kMixerSecond},
    // what stands around experts in a narrower space
    {".ffn_latent_down", kLatentInput},
    {".ffn_routed_down", kLatentInput},
    {".ffn_latent_up", kLatentOutput},
    {".ffn_routed_up", kLatentOutput},
    // of an FFN, its output, and before it gate, up, router, and how the branch reads residual streams
    {".ffn_down", kFfnOutput},
    {".ffn_", kFfnInput},
    {".hc_ffn_", kFfnInput},
};

}  // namespace

int stage_of(std::string_view tensor) {
  for (const Role& role : kRoles) {
    if (tensor.find(role.part) != tensor.npos) return role.stage;
  }
  return kMixerInput;
}

model::LayerPart part_of(int stage) {
  return stage <= kMixerOutput ? model::LayerPart::kMixer : model::LayerPart::kFfn;
}

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
