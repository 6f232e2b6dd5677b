// The order of a layer's linears, and the memory of the largest stage.
#include "calibrate/layer_stages.h"

#include <gtest/gtest.h>

#include "gguf/reader.h"
#include "plan/plan.h"
#include "support.h"

namespace steelyard::calibrate {
namespace {

TEST(Stages, WhatReadsComesAfterWhatIsRead) {
  EXPECT_EQ(stage_of("blk.0.attn_q.weight"), 0);
  EXPECT_EQ(stage_of("blk.0.ssm_in.weight"), 0);
  EXPECT_EQ(stage_of("blk.0.attn_output.weight"), 1);
  EXPECT_EQ(stage_of("blk.0.ssm_out.weight"), 1);
  EXPECT_EQ(stage_of("blk.0.ffn_gate_up_exps.weight"), 2);
  EXPECT_EQ(stage_of("blk.0.ffn_up_shexp.weight"), 2);
  EXPECT_EQ(stage_of("blk.0.ffn_down_exps.weight"), 3);
  EXPECT_EQ(stage_of("blk.0.ffn_down.weight"), 3);
  for (int stage = 0; stage < kStages; ++stage) {
    EXPECT_EQ(part_of(stage), stage <= 1 ? model::LayerPart::kMixer : model::LayerPart::kFfn);
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
