// What a model lacks, as its header shows it: the same that binding finds.
#include "model/inventory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gguf/reader.h"
#include "model/architecture.h"
#include "model/opening.h"
#include "model_copy.h"
#include "support.h"

namespace steelyard::model {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr const char* kModels[] = {"deepseek2", "deepseek2_yarn", "deepseek3",  "gemma3",          "glm4moe", "gpt-oss",
                                   "llama",     "llama_tied",     "minimax-m2", "mixtral",         "qwen2",   "qwen3",
                                   "qwen35moe", "qwen3moe",       "qwen3next",  "llama3_ropefreqs"};

Inventory inventory_of(const std::string& path) {
  const gguf::Reader reader(path, gguf::ReadMode::kHeader);
  return take_inventory(reader.tensors(), read_config(reader));
}

TEST(Inventory, WholeModels) {
  for (const char* name : kModels) {
    const Inventory inventory = inventory_of(test::golden(std::string("models/") + name + "/model.gguf"));
    EXPECT_THAT(inventory.missing, IsEmpty()) << name;
    EXPECT_THAT(inventory.misshapen, IsEmpty()) << name;
    EXPECT_THAT(inventory.unknown, IsEmpty()) << name;
  }
}

TEST(Inventory, MissesWhatOpeningMisses) {
  const test::TempFolder folder;
  int n_missed = 0;
  for (const char* name : {"llama", "deepseek2", "gpt-oss", "qwen3next", "qwen2"}) {
    const test::ModelCopy whole(test::golden(std::string("models/") + name + "/model.gguf"));
    for (const test::ModelCopy::Tensor& tensor : whole.tensors) {
      const std::string& removed = tensor.info.name;
      if (removed.starts_with("blk.") && !removed.starts_with("blk.1.")) continue;
      test::ModelCopy copy = whole;
      copy.remove(removed);
      copy.save(folder / "copy.gguf");
      const Inventory inventory = inventory_of(folder / "copy.gguf");
      const std::string error = error_of_opening(folder / "copy.gguf");
      if (inventory.missing.empty() && inventory.misshapen.empty()) {
        EXPECT_EQ(error, "") << removed;
        continue;
      }
      ++n_missed;
      EXPECT_THAT(error, HasSubstr("tensor " + inventory.missing.front() + " is missing")) << removed;
    }
  }
  EXPECT_GT(n_missed, 50);
}

TEST(Inventory, OfAWholeBlock) {
  test::ModelCopy copy(test::golden("models/llama/model.gguf"));
  std::erase_if(copy.tensors, [](const auto& tensor) { return tensor.info.name.starts_with("blk.1."); });
  const Inventory inventory = take_inventory(std::vector<gguf::TensorInfo>(), read_config(copy.metadata));
  EXPECT_GT(inventory.missing.size(), 20u);
  const test::TempFolder folder;
  copy.save(folder / "copy.gguf");
  EXPECT_EQ(inventory_of(folder / "copy.gguf").missing.size(), 9u);
}

// A header of a kilobyte may claim thousands of blocks.
TEST(Inventory, BlocksOfWhichThereIsNothing) {
  const test::TempFolder folder;
  test::ModelCopy copy(test::golden("models/llama/model.gguf"));
  const int64_t n = copy.metadata.integer("llama.block_count");
  copy.metadata.set_integer("llama.block_count", static_cast<uint32_t>(n + 18));
  copy.save(folder / "copy.gguf");
  const std::vector<std::string> missing = inventory_of(folder / "copy.gguf").missing;
  EXPECT_EQ(missing.size(), 16 * 9u + 2);
  EXPECT_EQ(missing[0], fmt::format("blk.{}.attn_norm.weight", n));
  EXPECT_EQ(missing.back(), fmt::format("blk.{}.*", n + 17));
}

TEST(Inventory, Shapes) {
  test::ModelCopy copy(test::golden("models/llama/model.gguf"));
  copy.find("blk.1.ffn_up.weight")->info.name = "blk.1.x";
  copy.find("blk.1.ffn_norm.weight")->info.name = "blk.1.ffn_up.weight";
  const test::TempFolder folder;
  copy.save(folder / "copy.gguf");
  const Inventory inventory = inventory_of(folder / "copy.gguf");
  EXPECT_THAT(inventory.missing, ElementsAre("blk.1.ffn_norm.weight"));
  EXPECT_THAT(inventory.misshapen, ElementsAre(HasSubstr("blk.1.ffn_up.weight ([")));
  EXPECT_THAT(inventory.unknown, ElementsAre("blk.1.x"));
}

// Blocks that predict tokens may be left out, but not in part.
TEST(Inventory, PredictionBlocks) {
  const test::TempFolder folder;
  test::ModelCopy copy(test::golden("models/deepseek3/model.gguf"));
  const auto n = copy.metadata.integer("deepseek2.block_count");
  const auto n_predict = copy.metadata.integer("deepseek2.nextn_predict_layers", 0);
  if (n_predict == 0) copy.metadata.set_integer("deepseek2.block_count", static_cast<uint32_t>(n + 1));
  if (n_predict == 0) copy.metadata.set_integer("deepseek2.nextn_predict_layers", 1);
  const std::string last = "blk." + std::to_string(n_predict == 0 ? n : n - 1) + ".";
  std::erase_if(copy.tensors, [&](const auto& tensor) { return tensor.info.name.starts_with(last); });
  copy.save(folder / "trunk.gguf");
  EXPECT_THAT(inventory_of(folder / "trunk.gguf").missing, IsEmpty());
  copy.tensors.push_back(*copy.find("blk.1.attn_norm.weight"));
  copy.tensors.back().info.name = last + "attn_norm.weight";
  copy.save(folder / "part.gguf");
  EXPECT_THAT(inventory_of(folder / "part.gguf").missing, testing::Contains(last + "nextn.eh_proj.weight"));
}

}  // namespace
}  // namespace steelyard::model
