// Sets of files NAME-00001-of-0000N.gguf.
#include <gtest/gtest.h>

#include <string>

#include "gguf/reader.h"
#include "gguf_bytes.h"
#include "support.h"

namespace steelyard::gguf {
namespace {

class ShardsTest : public testing::Test {
 protected:
  // The keys that gguf-split writes, in the types it uses.
  static std::string split(uint16_t number, uint16_t count, int32_t n_tensors) {
    return kv("split.no", kU16, num(number)) + kv("split.count", kU16, num(count)) +
           kv("split.tensors.count", kI32, num(n_tensors));
  }

  // Shard `number` of `count` with one tensor of 32 bytes.
  void put_shard(uint16_t number, uint16_t count, const std::string& name, const std::string& keys) {
    const std::string start = "GGUF" + num<uint32_t>(3) + num<uint64_t>(1) + num<uint64_t>(3);
    put(path(number, count), padded(start + keys + tensor(name, {8}, 0, 0)) + std::string(32, name[0]));
  }

  void put_set() {
    put_shard(0, 3, "a", split(0, 3, 3));
    put_shard(1, 3, "b", split(1, 3, 3));
    put_shard(2, 3, "c", split(2, 3, 3));
  }

  std::string path(int number, int count) {
    return folder_ / fmt::format("model-{:05}-of-{:05}.gguf", number + 1, count);
  }
  std::string error(const std::string& file) {
    return error_of([&] { Reader reader(file); });
  }

  test::TempFolder folder_;
};

TEST_F(ShardsTest, TheFirstOpensAll) {
  put_set();
  const Reader reader(path(0, 3));
  EXPECT_EQ(reader.n_shards(), 3);
  ASSERT_EQ(reader.tensors().size(), 3u);
  EXPECT_EQ(reader.total_bytes(), 96u);
  EXPECT_EQ(reader.metadata().integer("split.no"), 0);
  for (const char* name : {"a", "b", "c"}) {
    const TensorInfo* tensor = reader.find(name);
    ASSERT_NE(tensor, nullptr);
    EXPECT_EQ(tensor->shard, name[0] - 'a');
    EXPECT_EQ(static_cast<char>(reader.bytes(*tensor)[31]), name[0]);
  }
}

TEST_F(ShardsTest, EachHasItsOwnAlignment) {
  put_shard(0, 2, "a", split(0, 2, 2));
  put(path(1, 2), padded(header({kv("split.no", kU32, num<uint32_t>(1)), kv("split.count", kU32, num<uint32_t>(2)),
                                 kv("general.alignment", kU32, num<uint32_t>(128))},
                                {tensor("b", {8}, 0, 128)}),
                         128) +
                      std::string(128, '.') + std::string(32, 'b'));
  const Reader reader(path(0, 2));
  EXPECT_EQ(reader.alignment(), 32u);
  EXPECT_EQ(static_cast<char>(reader.bytes(*reader.find("b"))[0]), 'b');
}

TEST_F(ShardsTest, OneShardOrNoneMayHaveAnyName) {
  const std::string file = folder_ / "any.gguf";
  put(file, header({kv("split.no", kU16, num<uint16_t>(0)), kv("split.count", kU16, num<uint16_t>(1))}, {}));
  EXPECT_EQ(Reader(file).n_shards(), 1);
}

TEST_F(ShardsTest, ALaterOneDoesNotOpen) {
  put_set();
  EXPECT_EQ(error(path(1, 3)),
            path(1, 3) + ": found split.no 1 of 3 shards, expected 0: open the one that ends in -00001-of-00003.gguf");
}

TEST_F(ShardsTest, ARenamedFirstOneDoesNotOpen) {
  put_set();
  std::filesystem::rename(path(0, 3), folder_ / "model.gguf");
  EXPECT_EQ(
      error(folder_ / "model.gguf"),
      folder_ / "model.gguf" + ": found the first of 3 shards, expected a file name that ends in -00001-of-00003.gguf");
}

TEST_F(ShardsTest, AMissingOneIsNamed) {
  put_set();
  std::filesystem::remove(path(1, 3));
  EXPECT_EQ(error(path(0, 3)), path(1, 3) + ": cannot open: No such file or directory");
}

TEST_F(ShardsTest, NumbersMustAgree) {
  put_set();
  put_shard(1, 3, "b", split(2, 3, 3));
  EXPECT_EQ(error(path(0, 3)), path(1, 3) + ": key 'split.no': found 2, expected 1");
  put_shard(1, 3, "b", split(1, 4, 3));
  EXPECT_EQ(error(path(0, 3)), path(1, 3) + ": key 'split.count': found 4, expected 3");
  put(path(1, 3), header({}, {}));
  EXPECT_EQ(error(path(0, 3)), path(1, 3) + ": key 'split.no': found none, expected an integer of at most 63 bits");
  put_set();
  put_shard(0, 3, "a", split(0, 3, 4));
  EXPECT_EQ(error(path(0, 3)), path(0, 3) + ": key 'split.tensors.count': found 4, expected 3");
}

TEST_F(ShardsTest, NamesAreUniqueAcrossShards) {
  put_set();
  put_shard(2, 3, "a", split(2, 3, 3));
  EXPECT_EQ(error(path(0, 3)), path(2, 3) + ": tensor 'a': found twice, expected once");
}

TEST_F(ShardsTest, ASumBeyond64BitsIsRefused) {
  for (uint16_t i = 0; i < 2; ++i) {
    const std::string start = "GGUF" + num<uint32_t>(3) + num<uint64_t>(1) + num<uint64_t>(3);
    put(path(i, 2),
        start + split(i, 2, 2) + tensor(std::string(1, static_cast<char>('a' + i)), {int64_t{1} << 61}, 0, 0));
  }
  EXPECT_EQ(error_of([&] { Reader(path(0, 2), ReadMode::kHeader); }),
            path(1, 2) + ": tensor 'b': all tensors together exceed 2^64 bytes");
}

TEST_F(ShardsTest, DamageIsReportedForTheShardItIsIn) {
  put_set();
  std::filesystem::resize_file(path(2, 3), std::filesystem::file_size(path(2, 3)) - 1);
  EXPECT_EQ(
      error(path(0, 3)),
      path(2, 3) + ": tensor 'c': found 31 bytes in the data section, expected at least 32; the file is cut short");
}

}  // namespace
}  // namespace steelyard::gguf
