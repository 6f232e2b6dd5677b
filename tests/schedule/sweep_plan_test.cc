// How text goes through a model within given memory.
#include "schedule/sweep_plan.h"

#include <gtest/gtest.h>

#include <limits>

#include "gguf/reader.h"
#include "model_copy.h"
#include "support.h"

namespace steelyard::schedule {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;

class SweepPlanTest : public testing::Test {
 protected:
  SweepPlan plan(uint64_t memory, int64_t n_ctx = 512, std::optional<SweepOrder> order = std::nullopt) const {
    return plan_sweep(reader_, model_.config(), memory, /*result_bytes=*/kMiB, n_ctx, /*n_batch=*/2048, order);
  }

  gguf::Reader reader_{test::golden("models/deepseek2/model.gguf")};
  std::unique_ptr<compute::Backend> backend_ = compute::make_backend("ref");
  model::Model model_{reader_, *backend_};
};

TEST_F(SweepPlanTest, OrderFollowsFromTheFileUnlessGiven) {
  EXPECT_EQ(plan(1024 * kMiB).order, SweepOrder::kToken);
  EXPECT_EQ(plan(reader_.total_bytes()).order, SweepOrder::kLayer);
  EXPECT_EQ(plan(1, 512, SweepOrder::kToken).order, SweepOrder::kToken);
  EXPECT_EQ(plan(1024 * kMiB, 512, SweepOrder::kLayer).order, SweepOrder::kLayer);
}

TEST_F(SweepPlanTest, BatchesAreWholeChunksWhereTheyFit) {
  EXPECT_EQ(plan(1024 * kMiB).n_batch, 2048);
  EXPECT_EQ(plan(1024 * kMiB, 600).n_batch, 1800);
  const TokenBytes token = token_bytes(reader_.tensors(), model_.config());
  EXPECT_EQ(plan(4 * 700 * (token.in_block + token.persistent)).n_batch, 512);
  // Of a part of a chunk the caches and copies are the whole chunk's.
  EXPECT_EQ(plan(4 * (100 * token.in_block + 512 * token.persistent)).n_batch, 100);
  EXPECT_EQ(plan(1).n_batch, 16);
}

// The order must not change the batches, or results would differ in their last digits.
TEST_F(SweepPlanTest, BatchesDoNotDependOnTheOrder) {
  for (const uint64_t memory : {uint64_t{1}, 2 * kMiB, 40 * kMiB, 4096 * kMiB}) {
    EXPECT_EQ(plan(memory, 512, SweepOrder::kToken).n_batch, plan(memory, 512, SweepOrder::kLayer).n_batch);
  }
}

TEST_F(SweepPlanTest, PartsFitIntoMemory) {
  const uint64_t memory = 512 * kMiB;
  for (const SweepOrder order : {SweepOrder::kToken, SweepOrder::kLayer}) {
    const SweepPlan parts = plan(memory, 512, order);
    EXPECT_LT(parts.weight_bytes + parts.activation_bytes + parts.hidden_state_bytes, memory);
    EXPECT_GT(parts.weight_bytes + parts.activation_bytes + parts.hidden_state_bytes, memory - 64 * kMiB);
  }
  EXPECT_EQ(plan(memory, 512, SweepOrder::kToken).weight_bytes, reader_.total_bytes());
  EXPECT_LT(plan(memory, 512, SweepOrder::kLayer).weight_bytes, reader_.total_bytes());
}

TEST_F(SweepPlanTest, StreamsGetWhatIsLeft) {
  EXPECT_EQ(plan(32 * kMiB).hidden_state_bytes, 0u);
  EXPECT_GT(plan(1024 * kMiB).hidden_state_bytes, 512 * kMiB);
  EXPECT_LT(plan(1024 * kMiB).hidden_state_bytes, 1024 * kMiB);
}

// A header alone proves no size. Sums and products of what it says end at the largest number.
TEST_F(SweepPlanTest, SizesThatDoNotFitDoNotWrap) {
  model::ModelConfig config = model_.config();
  gguf::TensorInfo tensor;
  tensor.name = "blk.0.x";
  tensor.n_dims = 2;
  for (const int64_t n : {int64_t{1} << 61, (int64_t{1} << 62) - 1, std::numeric_limits<int64_t>::max()}) {
    for (const int64_t slices : {int64_t{1}, int64_t{1} << 40}) {
      tensor.ne = {n, 1, slices, 1};
      const TokenBytes token = token_bytes(std::span(&tensor, 1), config);
      EXPECT_GE(token.in_block, static_cast<uint64_t>(n));
      EXPECT_GE(token.input, static_cast<uint64_t>(n));
    }
  }
  config.layers[0].attention.mixer = model::Mixer::kAttention;
  config.layers[0].attention.n_head_kv = config.layers[0].attention.head_k = config.layers[0].attention.head_v =
      std::numeric_limits<int32_t>::max();
  EXPECT_GE(token_bytes({}, config).persistent, uint64_t{1} << 63);
}

TEST_F(SweepPlanTest, WithoutBlocks) {
  EXPECT_EQ(token_bytes({}, model_.config()).in_block, 0u);
  test::ModelCopy copy(test::golden("models/deepseek2/model.gguf"));
  std::erase_if(copy.tensors, [](const auto& tensor) { return tensor.info.name.starts_with("blk."); });
  const test::TempFolder folder;
  copy.save(folder / "none.gguf");
  const gguf::Reader reader(folder / "none.gguf");
  for (const uint64_t memory : {uint64_t{0}, kMiB, 1024 * kMiB}) {
    EXPECT_GT(plan_sweep(reader, model_.config(), memory, 0, 512, 2048, std::nullopt).n_batch, 0);
  }
}

}  // namespace
}  // namespace steelyard::schedule
