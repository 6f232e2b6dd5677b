// The order of a layer's linears.
#include "calibrate/layer_stages.h"

#include <gtest/gtest.h>

namespace steelyard::calibrate {
namespace {

TEST(Stages, WhatReadsComesAfterWhatIsRead) {
  // A group reads what earlier ones give.
  const std::vector<std::string> groups[] = {
      {"attn_q", "ssm_in", "shortconv.in_proj", "ssm_f_a", "ssm_g_a", "ssm_g", "ssm_beta", "attn_gate",
       "indexer.attn_q_b", "indexer.proj"},
      {"ssm_f_b", "ssm_g_b", "attn_output_a"},
      {"attn_output", "ssm_out", "shortconv.out_proj", "attn_output_b"},
      {"ffn_latent_down", "ffn_routed_down"},
      {"ffn_gate_up_exps", "ffn_up_shexp", "ffn_up", "ffn_gate_inp", "hc_ffn_fn"},
      {"ffn_down_exps", "ffn_down", "ffn_down_shexp"},
      {"ffn_latent_up", "ffn_routed_up"},
      {"inp_gate"},
      {"proj"},
  };
  ASSERT_EQ(std::size(groups), static_cast<size_t>(kStages));
  for (int stage = 0; stage < kStages; ++stage) {
    for (const std::string& name : groups[stage]) EXPECT_EQ(stage_of("blk.0." + name + ".weight"), stage) << name;
    EXPECT_EQ(part_of(stage), stage <= 2 ? model::LayerPart::kMixer : model::LayerPart::kFfn);
  }
}

TEST(Stages, HalfOfTheTextIsTriedInSomeLayersOfAll) {
  for (const int n_layers : {1, 5, 12, 47, 92}) {
    int n = 0;
    for (int layer = 0; layer < n_layers; ++layer) n += compares_half(layer, n_layers) ? 1 : 0;
    EXPECT_GE(n, std::min(n_layers, 6)) << n_layers;
    EXPECT_LE(n, 12) << n_layers;
  }
}

}  // namespace
}  // namespace steelyard::calibrate
