// Malformed GGUF files, given to every subcommand that reads one.
#include <cstdint>

#include "cli/failure.h"
#include "gguf/gguf_bytes.h"

namespace steelyard::test {
namespace {

using namespace gguf;  // the byte builders

constexpr uint32_t kF32Type = 0, kQ8_0Type = 8;

class BadGguf : public FailureTest {
 protected:
  // Commands that need a header only, and those that need the data too.
  std::vector<std::vector<std::string>> header_readers() const {
    return {{"inspect", model_}, {"inspect", "--json", model_}, {"plan", model_, "--preset", "Q8_0"}};
  }
  std::vector<std::vector<std::string>> data_readers() const {
    return {{"quantize", model_, out_, "Q8_0"},
            {"perplexity", "-m", model_, "-f", text_, "-c", "64"},
            {"perplexity", "-m", model_, "-f", text_, "-c", "64", "--kl-divergence-base", out_},
            {"imatrix", "-m", model_, "-f", text_, "-c", "64", "-o", out_},
            {"run", "-m", model_, "-p", "a", "-n", "1"}};
  }

  // No subcommand reads `bytes`.
  void expect_unreadable(const std::string& bytes, const std::string& reason) {
    put(model_, bytes);
    for (const auto& command : header_readers()) expect_fails(command, reason);
    expect_lacks_data(bytes, reason);
  }
  // The header is fine, the data is not.
  void expect_lacks_data(const std::string& bytes, const std::string& reason) {
    put(model_, bytes);
    for (const auto& command : data_readers()) expect_fails(command, reason);
  }

  const std::string model_ = folder_ / "model.gguf";
};

// A folder is looked into for a model as it is published.
TEST_F(BadGguf, AbsentOrAFolderWithoutAModel) {
  for (const auto& command : header_readers()) expect_fails(command, model_);
  for (const auto& command : data_readers()) expect_fails(command, model_);
  std::filesystem::create_directory(model_);
  for (const auto& command : header_readers()) expect_fails(command, "no shards of a model");
  for (const auto& command : data_readers()) expect_fails(command, "no shards of a model");
}

TEST_F(BadGguf, Empty) { expect_unreadable("", model_); }

// `inspect` takes a file that is not GGUF for a legacy imatrix, so the messages share only the file's name.
TEST_F(BadGguf, WrongMagic) {
  std::string bytes = read_text(llama_);
  bytes.replace(0, 4, "GGML");
  expect_unreadable(bytes, model_);
  expect_lacks_data(bytes, "found magic 'GGML', expected 'GGUF'");
}

TEST_F(BadGguf, WrongVersion) {
  std::string bytes = read_text(llama_);
  bytes.replace(4, 4, num<uint32_t>(99));
  expect_unreadable(bytes, "found GGUF version 99");
  bytes.replace(4, 4, std::string("\0\0\0\3", 4));
  expect_unreadable(bytes, "big-endian");
}

TEST_F(BadGguf, CutShort) {
  const std::string bytes = read_text(llama_);
  for (const size_t n : {3u, 4u, 7u, 8u, 23u, 24u, 30u, 100u, 1500u, 6000u})
    expect_unreadable(bytes.substr(0, n), model_);
  for (const size_t n : {size_t{6624}, size_t{100000}, bytes.size() - 64}) {
    expect_lacks_data(bytes.substr(0, n), "the file is cut short");
  }
}

TEST_F(BadGguf, HugeCounts) {
  const uint64_t huge = uint64_t{1} << 61;
  const std::string start = "GGUF" + num<uint32_t>(3);
  for (const uint64_t count : {huge, UINT64_MAX, uint64_t{1} << 32}) {
    expect_unreadable(start + num(count) + num<uint64_t>(0), "tensors");
    expect_unreadable(start + num<uint64_t>(0) + num(count), "keys");
  }
  const auto with_key = [&](const std::string& key) {
    return start + num<uint64_t>(0) + num<uint64_t>(1) + key + std::string(64, '\0');
  };
  expect_unreadable(with_key(num(huge) + "general.name"), model_);                                  // key length
  expect_unreadable(with_key(kv("general.name", kStr, num(huge))), model_);                         // string length
  expect_unreadable(with_key(kv("tokens", kArr, arr(kStr, huge, ""))), model_);                     // array of strings
  expect_unreadable(with_key(kv("tokens", kArr, arr(kU64, (uint64_t{1} << 61) + 1, ""))), model_);  // product wraps
  expect_unreadable(with_key(kv("tokens", 1000, "")), model_);  // unknown value type
}

TEST_F(BadGguf, NestedArrays) {
  std::string nested;
  for (int depth = 0; depth < 100000; ++depth) nested += num<uint32_t>(kArr) + num<uint64_t>(1);
  expect_unreadable("GGUF" + num<uint32_t>(3) + num<uint64_t>(0) + num<uint64_t>(1) + kv("deep", kArr, nested), model_);
}

TEST_F(BadGguf, ImpossibleShapes) {
  const auto model = [](std::initializer_list<int64_t> ne, uint32_t type, uint64_t offset) {
    return padded(header({}, {tensor("weight", ne, type, offset)})) + std::string(64, '\0');
  };
  const int64_t big = (int64_t{1} << 42) + 1;
  expect_unreadable(model({big, int64_t{1} << 42}, kF32Type, 0), "expected fewer than 2^63 values");
  expect_unreadable(model({int64_t{1} << 32, int64_t{1} << 32}, kF32Type, 0), "expected fewer than 2^63 values");
  expect_unreadable(model({int64_t{1} << 62}, kF32Type, 0), "expected fewer than 2^64 bytes");
  expect_unreadable(model({-32}, kF32Type, 0), "length -32");
  expect_unreadable(model({33}, kQ8_0Type, 0), "expected a multiple of 32");
  expect_unreadable(model({8}, 12345, 0), "type id 12345");
  expect_unreadable(model({8}, kF32Type, 7), "expected a multiple of the alignment");
  expect_unreadable(model({8}, kF32Type, UINT64_MAX - 31), "below 2^64");
  expect_unreadable(model({1, 1, 1, 1, 1}, kF32Type, 0), "5 dimensions");
}

TEST_F(BadGguf, TensorBeyondTheEnd) {
  const auto model = [](int64_t n, uint64_t offset) {
    return padded(header({}, {tensor("weight", {n}, kF32Type, offset)})) + std::string(64, '\0');
  };
  expect_lacks_data(model(17, 0), "found 64 bytes in the data section, expected at least 68");
  expect_lacks_data(model(8, 64), "cut short");
  expect_lacks_data(model(8, uint64_t{1} << 62), "cut short");
  expect_lacks_data(model(int64_t{1} << 42, 0), "cut short");
}

TEST_F(BadGguf, TensorsThatShareBytesOrNames) {
  const std::string data(256, '\0');
  expect_unreadable(padded(header({}, {tensor("a", {16}, 0, 0), tensor("b", {16}, 0, 32)})) + data,
                    "where tensor 'a' ends");
  expect_unreadable(padded(header({}, {tensor("a", {8}, 0, 0), tensor("a", {8}, 0, 32)})) + data, "found twice");
}

TEST_F(BadGguf, MissingShard) {
  put(folder_ / "m-00001-of-00003.gguf",
      padded(header({kv("split.no", kU16, num<uint16_t>(0)), kv("split.count", kU16, num<uint16_t>(3))}, {})));
  expect_fails({"inspect", folder_ / "m-00001-of-00003.gguf"}, "m-00002-of-00003.gguf: cannot open");
}

// Whatever a damaged header says, a command ends by itself, quietly or with its one line.
TEST_F(BadGguf, DamagedHeaders) {
  const std::string whole = read_text(llama_);
  for (size_t at = 4; at + 8 < 6624; at += 257) {
    for (const char fill : {'\xff', '\0'}) {
      std::string bytes = whole;
      bytes.replace(at, 8, std::string(8, fill));
      put(model_, bytes);
      CommandLimits limits;
      limits.address_space = kSmallMemory;
      const CommandResult result = run({"run", "-m", model_, "-p", "a", "-n", "1"}, limits);
      EXPECT_EQ(result.signal, 0) << at;
      EXPECT_TRUE(result.exit_code == 0 || result.exit_code == 1) << at << ": " << result.exit_code;
      EXPECT_TRUE(result.exit_code == 0 || is_one_line(result.err)) << at << ": " << result.err;
    }
  }
}

}  // namespace
}  // namespace steelyard::test
