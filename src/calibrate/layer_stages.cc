// Stages follow from the names that llama.cpp gives to tensors.
#include "calibrate/layer_stages.h"

#include <algorithm>

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

std::string_view stage_name(int stage) {
  constexpr std::string_view kNames[kStages] = {"mixer input",   "mixer second",    "mixer output",
                                                "latent input",  "FFN input",       "FFN output",
                                                "latent output", "embedding input", "embedding output"};
  return kNames[stage];
}

model::LayerPart part_of(int stage) {
  return stage <= kMixerOutput ? model::LayerPart::kMixer : model::LayerPart::kFfn;
}

bool is_ffn_input(int stage) { return stage == kFfnInput; }

bool compares_half(int layer, int n_layers) {
  constexpr int kLayers = 6;
  const int step = std::max(1, n_layers / kLayers);
  return layer % step == step / 2;
}

}  // namespace steelyard::calibrate
