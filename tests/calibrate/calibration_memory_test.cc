// The plan of a calibration's memory: what it counts, what it gives up first, and when it says that nothing helps.
#include "calibrate/calibration_memory.h"

#include <gtest/gtest.h>

#include "calibrate/layer_stages.h"
#include "gguf/reader.h"
#include "model/architecture.h"
#include "plan/plan.h"
#include "support.h"

namespace steelyard::calibrate {
namespace {

class PlanOfMemory : public testing::Test {
 protected:
  explicit PlanOfMemory(const std::string& rules = "* = Q4_K\n")
      : resolution_(resolve(plan::Plan::parse(rules, "test"), source_.tensors())) {}

  StageNeeds needs(const std::string& rules, TextSize text) {
    resolution_ = resolve(plan::Plan::parse(rules, "test"), source_.tensors());
    const int stage = stage_of("blk.1.ffn_gate_exps.weight");
    const auto stages = by_stage(resolution_, config_.layers.size());
    return stage_needs(stages[1][static_cast<size_t>(stage)], stage, config_.layers[1].ffn.n_used, text);
  }
  CalibrationMemory planned(uint64_t memory, int n_threads = 4) const {
    return plan_calibration(source_, config_, resolution_, kText, memory, n_threads);
  }

  static constexpr TextSize kText{.n_ctx = 512, .n_chunks = 64, .n_batch = 512};
  const gguf::Reader source_{test::golden("imatrix/deepseek2_k256/model.gguf"), gguf::ReadMode::kHeader};
  const model::ModelConfig config_ = model::read_config(source_);
  plan::Resolution resolution_;
};

TEST_F(PlanOfMemory, GateAndUpReadOneInput) {
  const gguf::TensorInfo& gate = *source_.find("blk.1.ffn_gate_exps.weight");
  const auto square = static_cast<uint64_t>(gate.ne[0] * gate.ne[0]) * sizeof(float);
  const StageNeeds one = needs("ffn_gate_exps = Q4_K\n* = keep\n", kText),
                   two = needs("ffn_(gate|up)_exps = Q4_K\n* = keep\n", kText);
  EXPECT_EQ(one.routed, 2 * static_cast<uint64_t>(gate.ne[2]) * square);
  EXPECT_EQ(two.routed, one.routed);
  EXPECT_EQ(two.rows, one.rows);
  EXPECT_EQ(one.sums, 0u);
  EXPECT_EQ(one.pooled, 2 * square);
  EXPECT_EQ(one.n_slices, gate.ne[2]);
  EXPECT_GT(two.slice, one.slice);
  EXPECT_GE(one.slice, 20 * static_cast<uint64_t>(gate.ne[0] * gate.ne[0]));
  // An input and its drift for each token, and once more for half of the text.
  EXPECT_EQ(one.rows, 512u * 96 * 2 * sizeof(float) * static_cast<uint64_t>(gate.ne[0]));
}

TEST_F(PlanOfMemory, AStageGivesUpSumsThenSlicesThenMemory) {
  StageNeeds needs;
  needs.routed = 10'000;
  needs.rows = 500;
  needs.sums = 10;
  needs.slice = 100;
  needs.n_slices = 8;
  needs.n_collections = 2;
  const StagePlan whole = plan_stage(needs, 50'000, 4);
  EXPECT_FALSE(whole.stores_rows);
  EXPECT_EQ(whole.scratch, 0u);
  const StagePlan stored = plan_stage(needs, 1'000, 4);
  EXPECT_TRUE(stored.stores_rows);
  EXPECT_EQ(stored.slices_at_once, 4);
  EXPECT_EQ(stored.space, 600u);
  EXPECT_EQ(stored.scratch, 0u);
  EXPECT_LE(stored.memory, 1'000u);
  const StagePlan few = plan_stage(needs, 500, 4);
  EXPECT_EQ(few.slices_at_once, 3);
  EXPECT_EQ(few.space, 200u);
  EXPECT_EQ(few.scratch, 320u);
  EXPECT_EQ(few.memory, 500u);
  const StagePlan none = plan_stage(needs, 100, 4);
  EXPECT_EQ(none.slices_at_once, 1);
  EXPECT_EQ(none.space, 0u);
  EXPECT_EQ(none.memory, 100u);
  EXPECT_EQ(plan_stage(needs, 0, 4).memory, 100u);  // more than was allowed: it cannot be done
  // Where rows are more than sums, these stay sums, and may go to the scratch file.
  needs.rows = 40'000;
  const StagePlan sums = plan_stage(needs, 30'000, 4);
  EXPECT_FALSE(sums.stores_rows);
  EXPECT_EQ(sums.space, 10'000u);
  EXPECT_EQ(sums.scratch, 10'020u);
}

TEST_F(PlanOfMemory, StaysWithinWhatIsAllowed) {
  const CalibrationMemory all = planned(uint64_t{1} << 40);
  EXPECT_EQ(all.in_memory, all.hidden_states);
  EXPECT_EQ(all.scratch, 0u);
  EXPECT_FALSE(all.stores_rows);
  EXPECT_EQ(all.hidden_states, 2u * 512 * 64 * static_cast<uint64_t>(config_.hidden_width()) * sizeof(float));
  EXPECT_LT(all.least, all.peak);
  for (uint64_t memory = all.least; memory < all.peak; memory += (all.peak - all.least) / 7 + 1) {
    const CalibrationMemory plan = planned(memory);
    EXPECT_EQ(plan.least, all.least);
    EXPECT_LE(plan.peak, memory);
    EXPECT_EQ(plan.peak,
              plan.program + plan.activations + plan.in_memory + plan.weights + plan.encoded + plan.statistics);
    EXPECT_EQ(plan.of_stage.size(), config_.layers.size());
  }
  EXPECT_GT(planned(all.least).scratch, 0u);
  EXPECT_GT(planned(all.least / 2).peak, all.least / 2);
}

TEST_F(PlanOfMemory, NothingToRoundNeedsNoStatistics) {
  resolution_ = resolve(plan::Plan::parse("* = keep\n", "test"), source_.tensors());
  EXPECT_EQ(planned(uint64_t{1} << 40).statistics, 0u);
}

}  // namespace
}  // namespace steelyard::calibrate
