// The order of a layer's linears, and the memory of the largest stage.
#include "calibrate/layer_stages.h"

#include <gtest/gtest.h>

#include "gguf/reader.h"
#include "plan/plan.h"
#include "support.h"

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

TEST(MomentBytes, AreThoseOfTheLargestStage) {
  const gguf::Reader source(test::golden("imatrix/deepseek2_k256/model.gguf"));
  const auto bytes = [&](const std::string& text) {
    return hessian_bytes(resolve(plan::Plan::parse(text, "test"), source.tensors()));
  };
  const gguf::TensorInfo& gate = *source.find("blk.1.ffn_gate_exps.weight");
  const auto of_experts = static_cast<uint64_t>(4 * gate.ne[2] * gate.ne[0] * gate.ne[0]) * sizeof(float);
  EXPECT_EQ(bytes("* = keep\n"), 0u);
  EXPECT_EQ(bytes("ffn_gate_exps = Q4_K\n* = keep\n"), of_experts);
  EXPECT_EQ(bytes("ffn_(gate|up)_exps = Q4_K\n* = keep\n"), of_experts);  // one input
  EXPECT_GT(bytes("ffn_(gate|up)_ = Q4_K\n* = keep\n"), of_experts);
}

}  // namespace
}  // namespace steelyard::calibrate
