// Where results are cut, and that shards say together what one file says.
#include "quantize/shards.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "gguf/reader.h"
#include "gguf/shards.h"
#include "quantize/quantize.h"
#include "quantize/verify.h"
#include "support.h"

namespace steelyard::quantize {
namespace {

using testing::ElementsAre;

const std::string kModel = test::golden("imatrix/deepseek2_k256/model.gguf");

// Tensors of `n` F32 values each; `shards`: their shards in the source.
std::vector<gguf::TensorInfo> tensors(std::vector<int64_t> n, std::vector<int> shards = {}) {
  std::vector<gguf::TensorInfo> made;
  for (size_t i = 0; i < n.size(); ++i) {
    gguf::TensorInfo tensor;
    tensor.name = fmt::format("t{}", i);
    tensor.n_dims = 1;
    tensor.ne[0] = n[i];
    tensor.shard = shards.empty() ? 0 : shards[i];
    made.push_back(tensor);
  }
  return made;
}

std::vector<size_t> sizes(const std::vector<ShardFile>& files) {
  std::vector<size_t> counts;
  for (const ShardFile& file : files) counts.push_back(file.tensors.size());
  return counts;
}

std::vector<size_t> cut_sizes(const std::vector<gguf::TensorInfo>& all, const Split& split) {
  return sizes(cut("out.gguf", gguf::Metadata(), all, split));
}

TEST(Cut, OneFileUnlessAsked) {
  const auto files = cut("out.gguf", gguf::Metadata(), tensors({8, 8}, {0, 1}), {});
  ASSERT_EQ(files.size(), 1u);
  EXPECT_EQ(files[0].path, "out.gguf");
  EXPECT_FALSE(files[0].metadata.contains("split.count"));
}

TEST(Cut, BySize) {
  // 8 values are 32 bytes, 9 are padded to 64.
  EXPECT_THAT(cut_sizes(tensors({8, 8, 8, 8}), {.max_bytes = 64}), ElementsAre(2, 2));
  EXPECT_THAT(cut_sizes(tensors({8, 8, 8, 8}), {.max_bytes = 95}), ElementsAre(2, 2));
  EXPECT_THAT(cut_sizes(tensors({8, 9, 8}), {.max_bytes = 64}), ElementsAre(1, 1, 1));
  EXPECT_THAT(cut_sizes(tensors({8, 8}), {.max_bytes = 1 << 20}), ElementsAre(2));
  EXPECT_THAT(cut_sizes(tensors({80, 8, 80, 8}), {.max_bytes = 64}), ElementsAre(1, 1, 1, 1))
      << "large ones stand alone";
  EXPECT_THAT(cut_sizes(tensors({8, 8}), {.max_bytes = 1}), ElementsAre(1, 1));
}

TEST(Cut, AsTheSourceIs) {
  EXPECT_THAT(cut_sizes(tensors({8, 8, 8}, {0, 0, 1}), {.keep = true}), ElementsAre(2, 1));
  EXPECT_THAT(cut_sizes(tensors({8, 8}, {1, 2}), {.keep = true}), ElementsAre(0, 1, 1))
      << "metadata alone in the first";
  EXPECT_THAT(cut_sizes(tensors({8, 8}, {0, 2}), {.keep = true}), ElementsAre(1, 1)) << "nothing is left of shard 1";
  EXPECT_EQ(cut("out.gguf", gguf::Metadata(), tensors({8, 8}), {.keep = true})[0].path, "out.gguf");
}

TEST(Cut, TooManyShards) {
  EXPECT_THROW(cut_sizes(tensors(std::vector<int64_t>(gguf::kMaxShards + 1, 8)), {.max_bytes = 1}), Error);
}

TEST(Cut, KeysInTheTypesOfLlamaCpp) {
  gguf::Metadata metadata;
  metadata.set_string("general.name", "x");
  metadata.set_integer("general.alignment", 64);
  const auto files = cut("a/out.gguf", metadata, tensors({8, 8}), {.max_bytes = 64});
  ASSERT_EQ(files.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(files[i].path, fmt::format("a/out-0000{}-of-00002.gguf", i + 1));
    const gguf::Metadata& shard = files[i].metadata;
    EXPECT_EQ(shard.integer("split.no"), static_cast<int64_t>(i));
    EXPECT_EQ(shard.integer("split.count"), 2);
    EXPECT_EQ(shard.integer("split.tensors.count"), 2);
    EXPECT_EQ(shard.find("split.no")->type, gguf::ValueType::kUint16);
    EXPECT_EQ(shard.find("split.count")->type, gguf::ValueType::kUint16);
    EXPECT_EQ(shard.find("split.tensors.count")->type, gguf::ValueType::kInt32);
    EXPECT_EQ(shard.contains("general.name"), i == 0);
    EXPECT_EQ(shard.integer("general.alignment"), 64);
  }
}

TEST(ShardNames, SuffixesComeOff) {
  EXPECT_EQ(gguf::without_shard_suffix("a/m.gguf"), "a/m");
  EXPECT_EQ(gguf::without_shard_suffix("a/m-00002-of-00012.gguf"), "a/m");
  EXPECT_EQ(gguf::without_shard_suffix("m-100000-of-100001.gguf"), "m");
  for (const char* other : {"m", "m-00001-of-00002", "m.bin"}) EXPECT_EQ(gguf::without_shard_suffix(other), other);
  for (const char* stem : {"m-1-of-2", "m00001-of-00002", "00001-of-00002", "-of-00002", "m-00001-00002"}) {
    EXPECT_EQ(gguf::without_shard_suffix(stem + std::string(".gguf")), stem);
  }
  EXPECT_EQ(gguf::without_shard_suffix(""), "");
}

class ShardedResult : public testing::Test {
 protected:
  QuantizeResult write(const std::string& source, const std::string& name, const Split& split) {
    const gguf::Reader reader(source);
    const plan::Resolution resolution = resolve(plan::Plan::parse("* = Q8_0", "test.plan"), reader.tensors());
    return quantize({reader, resolution, nullptr, /*allow_requantize=*/true}, {.path = folder_ / name, .split = split},
                    [](const QuantizeProgress&) {});
  }

  void expect_same_tensors(const gguf::Reader& a, const gguf::Reader& b) {
    ASSERT_EQ(a.tensors().size(), b.tensors().size());
    for (size_t i = 0; i < a.tensors().size(); ++i) {
      EXPECT_EQ(a.tensors()[i].name, b.tensors()[i].name);
      EXPECT_TRUE(std::ranges::equal(a.bytes(a.tensors()[i]), b.bytes(b.tensors()[i]))) << a.tensors()[i].name;
    }
  }

  test::TempFolder folder_;
};

TEST_F(ShardedResult, SaysWhatOneFileSays) {
  const std::string whole = write(kModel, "whole.gguf", {}).paths[0];
  const QuantizeResult result = write(kModel, "cut.gguf", {.max_bytes = 50000});
  ASSERT_GT(result.paths.size(), 3u);
  uint64_t bytes = 0;
  for (const std::string& path : result.paths) bytes += std::filesystem::file_size(path);
  EXPECT_EQ(bytes, result.bytes);

  const gguf::Reader one(whole), shards(result.paths[0]);
  EXPECT_EQ(shards.n_shards(), static_cast<int>(result.paths.size()));
  expect_same_tensors(one, shards);
  EXPECT_EQ(shards.metadata().entries().size(), one.metadata().entries().size() + 3);
  EXPECT_NO_THROW(verify(shards, [](size_t, size_t) {}));
}

TEST_F(ShardedResult, IsKeptByTheNextQuantization) {
  const QuantizeResult first = write(kModel, "cut.gguf", {.max_bytes = 50000});
  const QuantizeResult kept = write(first.paths[0], "kept-00001-of-00002.gguf", {.keep = true});
  ASSERT_EQ(kept.paths.size(), first.paths.size());
  const gguf::Reader before(first.paths[0]), after(kept.paths[0]);
  expect_same_tensors(before, after);
  for (size_t i = 0; i < before.tensors().size(); ++i) EXPECT_EQ(before.tensors()[i].shard, after.tensors()[i].shard);
  const std::string joined = write(first.paths[0], "joined.gguf", {}).paths[0];
  EXPECT_EQ(gguf::Reader(joined).n_shards(), 1);
  EXPECT_FALSE(gguf::Reader(joined).metadata().contains("split.count"));
}

TEST_F(ShardedResult, NoneOfItMayBeASource) {
  const QuantizeResult first = write(kModel, "cut.gguf", {.max_bytes = 50000});
  EXPECT_THROW(write(first.paths[0], "cut.gguf", {.keep = true}), Error);
}

}  // namespace
}  // namespace steelyard::quantize
