// Batches pass stages in order, and the failure of one stops all.
#include "schedule/pipeline.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <stdexcept>

namespace steelyard::schedule {
namespace {

TEST(PipelineTest, ABatchHasPassedEveryStageBefore) {
  constexpr size_t kStages = 4;
  constexpr int64_t kBatches = 50;
  std::array<std::atomic<int64_t>, kStages> n_passed{};
  Pipeline pipeline(kStages);
  pipeline.run([&](size_t stage) {
    for (int64_t batch = 0; batch < kBatches; ++batch) {
      ASSERT_TRUE(pipeline.wait_for(stage, batch));
      if (stage > 0) {
        EXPECT_GT(n_passed[stage - 1], batch);
      }
      ++n_passed[stage];
      pipeline.passed(stage);
    }
  });
  for (const auto& n : n_passed) EXPECT_EQ(n, kBatches);
}

// Both before and behind the stage that fails.
TEST(PipelineTest, AFailureStopsTheOthersAndIsRethrown) {
  std::array<std::atomic<int64_t>, 3> n_passed{};
  Pipeline pipeline(3);
  const auto work = [&](size_t stage) {
    for (int64_t batch = 0; pipeline.wait_for(stage, batch); ++batch) {
      if (stage == 1 && batch == 5) throw std::runtime_error("stage 1");
      ++n_passed[stage];
      pipeline.passed(stage);
    }
  };
  EXPECT_THROW(pipeline.run(work), std::runtime_error);
  EXPECT_EQ(n_passed[1], 5);
  EXPECT_LE(n_passed[2], 5);
}

}  // namespace
}  // namespace steelyard::schedule
