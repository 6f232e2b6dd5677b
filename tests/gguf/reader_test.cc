// What a reader accepts and shows, and the one line it gives for each kind of damage.
#include "gguf/reader.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/error.h"
#include "gguf_bytes.h"
#include "support.h"

namespace steelyard::gguf {
namespace {

constexpr uint32_t kTypeF32 = 0, kTypeQ8_0 = 8, kTypeQ4_K = 12;

class ReaderTest : public testing::Test {
 protected:
  // Reads `bytes` as a file.
  Reader read(const std::string& bytes, ReadMode mode = ReadMode::kData) {
    put(path_, bytes);
    return Reader(path_, mode);
  }
  // The message for a file of `bytes`, without the file's name, which must come first.
  std::string error(const std::string& bytes, ReadMode mode = ReadMode::kData) {
    const std::string message = error_of([&] { read(bytes, mode); });
    if (message.empty()) return message;
    EXPECT_TRUE(message.starts_with(path_ + ": ")) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    return message.substr(path_.size() + 2);
  }

  test::TempFolder folder_;
  const std::string path_ = folder_ / "model.gguf";
};

TEST_F(ReaderTest, ReadsAModelOfLlamaCpp) {
  const Reader reader(test::golden("models/llama/model.gguf"));
  EXPECT_EQ(reader.version(), 3u);
  EXPECT_EQ(reader.alignment(), 32u);
  EXPECT_EQ(reader.n_shards(), 1);
  EXPECT_EQ(reader.tensors().size(), 30u);
  EXPECT_EQ(reader.total_bytes(), 657152u);
  EXPECT_EQ(reader.metadata().entries().size(), 23u);
  EXPECT_EQ(reader.metadata().string("general.architecture"), "llama");
  EXPECT_EQ(reader.metadata().integer("llama.vocab_size"), 272);
  EXPECT_EQ(reader.metadata().real("llama.attention.layer_norm_rms_epsilon"), 1e-5f);
  EXPECT_EQ(reader.metadata().strings("tokenizer.ggml.tokens").size(), 272u);
  const TensorInfo* output = reader.find("output.weight");
  ASSERT_NE(output, nullptr);
  EXPECT_EQ(output, &reader.tensors()[2]);
  EXPECT_EQ(shape_string(*output), "[64, 272]");
  EXPECT_EQ(output->type, formats::Type::F32);
  EXPECT_EQ(output->n_bytes, 69632u);
  EXPECT_EQ(reader.bytes(*output).size(), 69632u);
  EXPECT_EQ(reader.find("absent"), nullptr);
}

TEST_F(ReaderTest, ReadsManyTypesInOneFile) {
  const Reader reader(test::golden("imatrix/deepseek2_k256/model_mixed.gguf"));
  EXPECT_EQ(reader.tensors().size(), 34u);
  EXPECT_EQ(reader.total_bytes(), 322672u);
  EXPECT_EQ(reader.find("output.weight")->type, formats::Type::Q5_K);
  EXPECT_EQ(reader.find("output.weight")->n_bytes, 47872u);
}

TEST_F(ReaderTest, ShowsTheTensorsBytes) {
  const std::string bytes = padded(header({}, {tensor("b", {3}, kTypeF32, 32), tensor("a", {2, 4}, kTypeF32, 64)}));
  const Reader reader = read(bytes + std::string(32, '.') + padded("twelve bytes") + std::string(32, 'a'));
  const auto text = [&](const char* name) {
    const auto span = reader.bytes(*reader.find(name));
    return std::string(reinterpret_cast<const char*>(span.data()), span.size());
  };
  EXPECT_EQ(text("b"), "twelve bytes") << "the gap before it is nobody's";
  EXPECT_EQ(text("a"), std::string(32, 'a'));
  EXPECT_EQ(reader.tensors()[0].n_dims, 1);
  EXPECT_EQ(reader.tensors()[1].n_dims, 2);
  EXPECT_EQ(reader.tensors()[1].n_rows(), 4);
  EXPECT_EQ(reader.total_bytes(), 44u);
}

TEST_F(ReaderTest, ReadsVersion2AndAnyAlignment) {
  EXPECT_EQ(read(header({}, {}, 2)).version(), 2u);
  const std::string bytes = header({kv("general.alignment", kU32, num<uint32_t>(24))},
                                   {tensor("a", {5}, kTypeF32, 0), tensor("b", {1}, kTypeF32, 24)});
  const Reader reader = read(padded(bytes, 24) + std::string(28, 'x'));
  EXPECT_EQ(reader.alignment(), 24u);
  EXPECT_EQ(reader.bytes(*reader.find("b")).size(), 4u) << "the last tensor needs no padding";
}

TEST_F(ReaderTest, AFileWithoutTensorsNeedsNoPadding) {
  EXPECT_TRUE(read(header({kv("a", kU8, "x")}, {})).tensors().empty());
}

TEST_F(ReaderTest, AHeaderIsEnoughForShapes) {
  const std::string bytes = header({}, {tensor("big", {1 << 30, 1 << 20}, kTypeF32, 0)});
  const Reader reader = read(bytes, ReadMode::kHeader);
  EXPECT_EQ(reader.find("big")->n_bytes, uint64_t{1} << 52);
  EXPECT_EQ(
      error(bytes),
      "tensor 'big': found 0 bytes in the data section, expected at least 4503599627370496; the file is cut short");
  EXPECT_DEATH(reader.bytes(reader.tensors()[0]), "internal check failed");
}

TEST_F(ReaderTest, Moves) {
  Reader reader = read(padded(header({}, {tensor("a", {8}, kTypeF32, 0)})) + std::string(32, 'x'));
  const std::byte* data = reader.bytes(reader.tensors()[0]).data();
  const Reader moved(std::move(reader));
  ASSERT_NE(moved.find("a"), nullptr);
  EXPECT_EQ(moved.bytes(*moved.find("a")).data(), data);
}

TEST_F(ReaderTest, RefusesWhatIsNoGguf) {
  EXPECT_EQ(error(""), "header: needs 4 bytes at offset 0, found 0");
  EXPECT_EQ(error("GGU"), "header: needs 4 bytes at offset 0, found 3");
  EXPECT_EQ(error("PK\x03\x04" + std::string(100, ' ')), "header: found magic 'PK\\x03\\x04', expected 'GGUF'");
  EXPECT_EQ(error("GGUF" + num<uint32_t>(3)), "header: needs 8 bytes at offset 8, found 0");
  EXPECT_EQ(error(header({}, {}, 1)), "header: found GGUF version 1, expected 2 or 3");
  EXPECT_EQ(error(header({}, {}, 4)), "header: found GGUF version 4, expected 2 or 3");
  EXPECT_EQ(error(header({}, {}, 0)), "header: found GGUF version 0, expected 2 or 3");
  EXPECT_EQ(error(header({}, {}, 0x03000000)), "header: found a big-endian file, expected little-endian");
  EXPECT_NE(error_of([] { Reader("/nowhere/model.gguf"); }).find("cannot open"), std::string::npos);
}

TEST_F(ReaderTest, RefusesCountsThatCannotBe) {
  const std::string start = "GGUF" + num<uint32_t>(3);
  const std::string rest(100, '\0');
  EXPECT_EQ(error(start + num<uint64_t>(5) + num<uint64_t>(0) + rest),
            "header: found 5 tensors, expected at most 4 in 108 bytes");
  EXPECT_EQ(error(start + num<uint64_t>(-1) + num<uint64_t>(0) + rest),
            "header: found 18446744073709551615 tensors, expected at most 4 in 108 bytes");
  EXPECT_EQ(error(start + num<uint64_t>(0) + num<uint64_t>(8) + rest),
            "header: found 8 keys, expected at most 7 in 100 bytes");
}

TEST_F(ReaderTest, RefusesBadKeys) {
  const std::string x = kv("x", kU8, "1");
  EXPECT_EQ(error(header({x, x}, {})), "key 'x': found twice, expected once");
  EXPECT_EQ(error(header({kv("", kU32, num(1))}, {})), "key 1 of 1: found a key of 0 bytes, expected 1 to 65535");
  EXPECT_EQ(error(header({kv(std::string(65536, 'k'), kU8, "1")}, {})),
            "key 1 of 1: found a key of 65536 bytes, expected 1 to 65535");
  EXPECT_EQ(error(header({x, num<uint64_t>(1000) + "shorter"}, {})),
            "key 2 of 2: needs 1000 bytes at offset 46, found 7");
  EXPECT_EQ(error(header({x, num<uint64_t>(-1) + "shorter"}, {})),
            "key 2 of 2: needs 18446744073709551615 bytes at offset 46, found 7");
}

TEST_F(ReaderTest, RefusesBadValues) {
  const auto value = [&](uint32_t type, const std::string& raw) {
    return error(header({kv("a\nkey", type, raw)}, {}));
  };
  EXPECT_EQ(value(13, "12345678"), "key 'a\\x0akey': found value type 13, expected 0-12");
  EXPECT_EQ(value(0xFFFFFFFF, "1"), "key 'a\\x0akey': found value type 4294967295, expected 0-12");
  EXPECT_EQ(value(kU64, "1234"), "key 'a\\x0akey': needs 8 bytes at offset 41, found 4");
  EXPECT_EQ(value(kStr, num<uint64_t>(5) + "1234"), "key 'a\\x0akey': needs 5 bytes at offset 49, found 4");
  EXPECT_EQ(value(kArr, arr(kArr, 1, arr(kU8, 1, "1"))),
            "key 'a\\x0akey': found an array of type 9, expected elements of type 0-8 or 10-12 (arrays do not nest)");
  EXPECT_EQ(value(kArr, arr(99, 0, "")),
            "key 'a\\x0akey': found an array of type 99, expected elements of type 0-8 or 10-12 (arrays do not nest)");
  EXPECT_EQ(value(kArr, arr(kU32, 3, "12345678")), "key 'a\\x0akey': needs 12 bytes at offset 53, found 8");
  EXPECT_EQ(value(kArr, arr(kU64, uint64_t{1} << 61, "")),
            "key 'a\\x0akey': found an array of 2305843009213693952 elements, expected what 64 bits can address");
  EXPECT_EQ(value(kArr, arr(kStr, 1000, str("a"))),
            "key 'a\\x0akey': found an array of 1000 strings, expected at most 1 in 9 bytes");
  EXPECT_EQ(value(kArr, arr(kStr, 2, str("abcdefgh") + "ij")), "key 'a\\x0akey': needs 8 bytes at offset 69, found 2");
}

// Without dimensions a tensor is one value; with a dimension of length 0 it is empty. ggml reads both.
TEST_F(ReaderTest, ReadsScalarsAndEmptyTensors) {
  const float value = 4.5;
  const std::string bytes =
      padded(header({}, {tensor("scalar", {}, kTypeF32, 0), tensor("gap", {0}, kTypeF32, 0),
                         tensor("row", {2}, kTypeF32, 32), tensor("columns", {256, 0}, kTypeQ4_K, 64),
                         tensor("between", {4, 0, 3}, kTypeF32, 32), tensor("beyond", {0}, kTypeF32, 1 << 20)})) +
      padded(num(value)) + num(value) + num(value);
  put(path_, bytes);
  const Reader reader(path_);
  const TensorInfo& scalar = *reader.find("scalar");
  EXPECT_EQ(scalar.n_dims, 0);
  EXPECT_EQ(scalar.n_elements(), 1);
  EXPECT_EQ(shape_string(scalar), "[]");
  EXPECT_EQ(reader.bytes(scalar).size(), 4u);
  for (const char* name : {"gap", "columns", "between", "beyond"}) {
    const TensorInfo& empty = *reader.find(name);
    EXPECT_EQ(empty.n_elements(), 0) << name;
    EXPECT_TRUE(reader.bytes(empty).empty()) << name;
    reader.will_need(empty, 0, empty.n_bytes);
    reader.release(empty, 0, empty.n_bytes);
  }
  EXPECT_EQ(reader.total_bytes(), 12u);
}

TEST_F(ReaderTest, RefusesBadAlignments) {
  for (const uint32_t bad : {0u, 65537u, 1u << 20}) {
    EXPECT_EQ(error(header({kv("general.alignment", kU32, num(bad))}, {})),
              "key 'general.alignment': found u32 " + std::to_string(bad) + ", expected a u32 of 1 to 65536");
  }
  EXPECT_NE(error(header({kv("general.alignment", kU64, num<uint64_t>(32))}, {})), "");
  EXPECT_NE(error(header({kv("general.alignment", kStr, str("32"))}, {})), "");
}

TEST_F(ReaderTest, RefusesBadShapesAndTypes) {
  const auto tensor_error = [&](std::initializer_list<int64_t> ne, uint32_t type, uint64_t offset = 0) {
    return error(header({}, {tensor("t", ne, type, offset)}), ReadMode::kHeader);
  };
  EXPECT_EQ(error(header({}, {tensor("", {1, 1}, kTypeF32, 0)})),
            "tensor 1 of 1: found a name of 0 bytes, expected 1 to 1024");
  EXPECT_EQ(error(header({}, {tensor(std::string(1025, 'n'), {1}, kTypeF32, 0)})),
            "tensor 1 of 1: found a name of 1025 bytes, expected 1 to 1024");
  EXPECT_EQ(tensor_error({1, 1, 1, 1, 1}, kTypeF32), "tensor 't': found 5 dimensions, expected at most 4");
  EXPECT_EQ(tensor_error({-1}, kTypeF32), "tensor 't': found dimension 0 of length -1, expected at least 0");
  EXPECT_EQ(tensor_error({}, kTypeQ8_0), "tensor 't': found rows of 1 values, expected a multiple of 32 for Q8_0");
  EXPECT_EQ(tensor_error({0, int64_t{1} << 32, int64_t{1} << 31}, kTypeF32),
            "tensor 't': found shape [0, 4294967296, 2147483648], expected fewer than 2^63 values");
  EXPECT_EQ(tensor_error({int64_t{1} << 32, int64_t{1} << 31}, kTypeF32),
            "tensor 't': found shape [4294967296, 2147483648], expected fewer than 2^63 values");
  EXPECT_EQ(tensor_error({int64_t{1} << 62}, kTypeF32),
            "tensor 't': found shape [4611686018427387904], expected fewer than 2^64 bytes of F32");
  EXPECT_EQ(tensor_error({4}, 4), "tensor 't': found type id 4, expected the id of a known GGUF tensor type");
  EXPECT_EQ(tensor_error({4}, 4000000000),
            "tensor 't': found type id 4000000000, expected the id of a known GGUF tensor type");
  EXPECT_EQ(tensor_error({257}, kTypeQ4_K),
            "tensor 't': found rows of 257 values, expected a multiple of 256 for Q4_K");
  EXPECT_EQ(tensor_error({16, 2}, kTypeQ8_0),
            "tensor 't': found rows of 16 values, expected a multiple of 32 for Q8_0");
  EXPECT_EQ(tensor_error({4}, kTypeF32, 16), "tensor 't': found offset 16, expected a multiple of the alignment 32");
  EXPECT_EQ(tensor_error({8}, kTypeF32, uint64_t(-32)),
            "tensor 't': found 32 bytes at offset 18446744073709551584, expected an end below 2^64");
}

TEST_F(ReaderTest, RefusesTensorsInEachOthersWay) {
  const std::string a = tensor("a", {9}, kTypeF32, 0);
  EXPECT_EQ(error(header({}, {a, tensor("a", {1}, kTypeF32, 64)}), ReadMode::kHeader),
            "tensor 'a': found twice, expected once");
  const std::string expected = "tensor 'b': found offset 32, expected at least 36, where tensor 'a' ends";
  EXPECT_EQ(error(header({}, {a, tensor("b", {1}, kTypeF32, 32)}), ReadMode::kHeader), expected);
  EXPECT_EQ(error(header({}, {tensor("b", {1}, kTypeF32, 32), a}), ReadMode::kHeader), expected);
  EXPECT_EQ(error(header({}, {a, tensor("b", {1}, kTypeF32, 64)}), ReadMode::kHeader), "");
}

TEST_F(ReaderTest, SumsUpBeyond63Bits) {
  const std::string bytes =
      header({}, {tensor("a", {int64_t{1} << 61}, kTypeF32, 0), tensor("b", {8}, kTypeF32, 1ull << 63)});
  EXPECT_EQ(read(bytes, ReadMode::kHeader).total_bytes(), (1ull << 63) + 32);
}

TEST_F(ReaderTest, EveryTruncationIsAnError) {
  const std::string whole =
      padded(header({kv("text", kStr, str("value")), kv("list", kArr, arr(kStr, 2, str("a") + str("b"))),
                     kv("number", kF64, num(1.0))},
                    {tensor("a", {32, 2}, kTypeQ8_0, 0), tensor("b", {3}, kTypeF32, 96)})) +
      std::string(96 + 12, 'x');
  ASSERT_EQ(error(whole), "");
  for (size_t n = 0; n < whole.size(); ++n) EXPECT_NE(error(whole.substr(0, n)), "") << n;
}

}  // namespace
}  // namespace steelyard::gguf
