// What a reader of safetensors accepts, and the one line it gives for each kind of damage.
#include "huggingface/safetensors.h"

#include <gtest/gtest.h>

#include "error_of.h"
#include "growth.h"
#include "huggingface/checkpoint.h"
#include "huggingface/checkpoint_bytes.h"

namespace steelyard::huggingface {
namespace {

using test::bytes_of, test::put_file, test::safetensors;

class SafetensorsTest : public testing::Test {
 protected:
  // The message for a file of `bytes`, without the file's name, which must come first.
  std::string error(const std::string& bytes, gguf::ReadMode mode = gguf::ReadMode::kData) {
    put_file(path_, bytes);
    const std::string message = test::error_of([&] { Safetensors(path_, mode); });
    if (message.empty()) return message;
    EXPECT_TRUE(message.starts_with(path_ + ": ")) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    return message.substr(path_.size() + 2);
  }
  static std::string entry(const std::string& fields, const std::string& name = "a") {
    return "{\"" + name + "\":{" + fields + "}}";
  }

  test::TempFolder folder_;
  const std::string path_ = folder_ / "model.safetensors";
};

TEST_F(SafetensorsTest, ReadsTensorsInTheOrderOfTheirBytes) {
  put_file(path_,
           safetensors(R"({"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[2,1],"data_offsets":[8,12]},)"
                       R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                       R"("empty":{"dtype":"I64","shape":[0,3],"data_offsets":[12,12]}}   )",
                       bytes_of<float>({1, 2}) + "abcd"));
  const Safetensors file(path_);
  ASSERT_EQ(file.tensors().size(), 3u);
  EXPECT_EQ(file.tensors()[0].name, "a");
  EXPECT_EQ(file.tensors()[1].name, "b");
  EXPECT_EQ(file.tensors()[1].dtype, Dtype::kBF16);
  EXPECT_EQ(file.tensors()[1].shape, (std::vector<int64_t>{2, 1}));
  EXPECT_EQ(file.bytes(file.tensors()[1]).size(), 4u);
  EXPECT_EQ(file.bytes(file.tensors()[1])[0], std::byte('a'));
  EXPECT_EQ(file.bytes(file.tensors()[2]).size(), 0u);
}

TEST_F(SafetensorsTest, DamagedHeadersAreNamed) {
  EXPECT_EQ(error("abc"), "header: needs 8 bytes at offset 0, found 3");
  EXPECT_NE(error(std::string(8, '\xff')).find("expected at most 100000000"), std::string::npos);
  EXPECT_NE(error(safetensors("{}").substr(0, 9)).find("header"), std::string::npos);
  EXPECT_NE(error(safetensors("{")), "");
  EXPECT_EQ(error(safetensors("[]")), "header: found an array, expected an object");
  EXPECT_EQ(error(safetensors(R"({"a":1})")), "tensor 'a': found a number, expected an object");
  EXPECT_EQ(error(safetensors(entry(R"("shape":[1],"data_offsets":[0,4])"))), "tensor 'a': found no dtype");
  EXPECT_EQ(error(safetensors(entry(R"("dtype":"Q8","shape":[1],"data_offsets":[0,4])"))),
            "tensor 'a': found dtype 'Q8', expected that of a known type");
  EXPECT_EQ(error(safetensors(entry(R"("dtype":"F32","shape":[-1],"data_offsets":[0,4])"))),
            "tensor 'a': found -1 in shape, expected numbers of at least 0");
  EXPECT_EQ(error(safetensors(entry(R"("dtype":"F32","shape":[1],"data_offsets":[0])"))),
            "tensor 'a': found 1 data_offsets, expected 2");
  EXPECT_EQ(error(safetensors(entry(R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4])"))),
            "tensor 'a': found shape [4294967296, 4294967296], expected fewer than 2^63 bytes");
  EXPECT_EQ(error(safetensors(entry(R"("dtype":"F32","shape":[2],"data_offsets":[0,4])"), "abcd")),
            "tensor 'a': found bytes 0 to 4, expected 8 bytes for [2] of F32");
  EXPECT_EQ(error(safetensors(entry(R"("dtype":"F32","shape":[1],"data_offsets":[4,0])"), "abcd")),
            "tensor 'a': found bytes 4 to 0, expected 4 bytes for [1] of F32");
}

TEST_F(SafetensorsTest, EveryByteIsOfOneTensor) {
  const std::string a = R"("a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]})";
  EXPECT_EQ(error(safetensors("{" + a + "," + a + "}", "abcd")), "header: found 'a' twice, expected once");
  EXPECT_EQ(error(safetensors("{" + a + R"(,"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}})", "abcdef")),
            "tensor 'b': found at byte 2, expected 4, where the one before it ends");
  EXPECT_EQ(error(safetensors("{" + a + R"(,"b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}})", "abcdefghijkl")),
            "tensor 'b': found at byte 8, expected 4, where the one before it ends");
  EXPECT_EQ(error(safetensors("{" + a + "}", "abc")), "found 3 bytes of tensors, expected 4; the file is cut short");
  EXPECT_EQ(error(safetensors("{" + a + "}", "abc"), gguf::ReadMode::kHeader), "");
  EXPECT_EQ(error(safetensors("{" + a + "}", "abcde")),
            "found 5 bytes of tensors, expected 4: there are bytes of no tensor");
}

class CheckpointTest : public testing::Test {
 protected:
  CheckpointTest() {
    put("model-00001-of-00002.safetensors", safetensors({{"a", {"F32", {1}, "abcd"}}}));
    put("model-00002-of-00002.safetensors", safetensors({{"b", {"F32", {1}, "efgh"}}}));
  }
  void put(const std::string& name, const std::string& bytes) { put_file(folder_ / name, bytes); }
  void put_index(const std::string& map) { put("model.safetensors.index.json", R"({"weight_map":{)" + map + "}}"); }
  std::string error() {
    return test::error_of([&] { Checkpoint(folder_ / ".", gguf::ReadMode::kData); });
  }
  test::TempFolder folder_;
  const std::string both_ = R"("a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors")";
};

TEST_F(CheckpointTest, ShardsWithAndWithoutAnIndex) {
  EXPECT_EQ(error(), "");
  put_index(both_);
  const Checkpoint checkpoint(folder_ / ".", gguf::ReadMode::kData);
  ASSERT_NE(checkpoint.find("b"), nullptr);
  EXPECT_EQ(checkpoint.bytes(*checkpoint.find("b"))[0], std::byte('e'));
  EXPECT_EQ(checkpoint.find("c"), nullptr);
}

TEST_F(CheckpointTest, MissingShardsAndWrongIndexesAreNamed) {
  std::filesystem::remove(folder_ / "model-00002-of-00002.safetensors");
  EXPECT_NE(error().find("has 1 shards, expected 2"), std::string::npos) << error();
  put_index(both_);
  EXPECT_NE(error().find("model-00002-of-00002.safetensors: is missing"), std::string::npos) << error();
  put("model-00002-of-00002.safetensors", safetensors({{"c", {"F32", {1}, "efgh"}}}));
  EXPECT_NE(error().find("tensor 'c': found in model-00002-of-00002.safetensors, expected in the index too"),
            std::string::npos)
      << error();
  put("model-00002-of-00002.safetensors", safetensors({{"a", {"F32", {1}, "efgh"}}}));
  EXPECT_NE(error().find("tensor 'a': found here and in model-00001-of-00002.safetensors"), std::string::npos)
      << error();
  put("model-00002-of-00002.safetensors", safetensors(std::map<std::string, test::TestTensor>{}));
  EXPECT_NE(error().find("tensor 'b': found no such tensor in model-00002"), std::string::npos) << error();
  put_index(R"("a":"../model.safetensors")");
  EXPECT_NE(error().find("expected the name of a .safetensors file"), std::string::npos) << error();
  put_index("");
  EXPECT_NE(error().find("names no shards"), std::string::npos) << error();
}

TEST_F(CheckpointTest, AFolderWithoutTensors) {
  const test::TempFolder empty;
  EXPECT_NE(test::error_of([&] { Checkpoint(empty / ".", gguf::ReadMode::kData); }).find("has no model.safetensors"),
            std::string::npos);
}

}  // namespace
}  // namespace steelyard::huggingface
