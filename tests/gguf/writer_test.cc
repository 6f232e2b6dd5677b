// Files that are read and written again stay the same bytes, and a failure leaves nothing behind.
#include "gguf/writer.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <string>
#include <vector>

#include "gguf/reader.h"
#include "gguf_bytes.h"
#include "support.h"

namespace steelyard::gguf {
namespace {

// Writes what `reader` shows to `path`.
void copy(const Reader& reader, const std::string& path) {
  Writer writer(path, reader.metadata(), {reader.tensors().begin(), reader.tensors().end()});
  for (const TensorInfo& tensor : reader.tensors()) writer.append(reader.bytes(tensor));
  writer.finish();
  EXPECT_EQ(std::filesystem::file_size(path), writer.file_bytes());
}

size_t files_in(const std::string& folder) {
  return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(folder), {}));
}

TensorInfo tensor_of(const std::string& name, std::vector<int64_t> ne, formats::Type type) {
  TensorInfo tensor;
  tensor.name = name;
  tensor.n_dims = static_cast<int>(ne.size());
  std::copy(ne.begin(), ne.end(), tensor.ne.begin());
  tensor.type = type;
  return tensor;
}

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

TEST(WriterTest, CopiesOfGoldenFilesAreTheSameBytes) {
  const test::TempFolder folder;
  std::vector<std::string> paths = {STEELYARD_SOURCE_DIR "/tests/models/glm-flash-tiny-bf16.gguf"};
  for (const auto& entry : std::filesystem::recursive_directory_iterator(test::golden(""))) {
    const bool is_shard = entry.path().stem().string().find("-of-") != std::string::npos;  // a part of a copy
    if (entry.path().extension() == ".gguf" && !is_shard) paths.push_back(entry.path().string());
  }
  EXPECT_GE(paths.size(), 10u);
  for (const std::string& path : paths) {
    copy(Reader(path), folder / "copy.gguf");
    EXPECT_TRUE(test::read_text(path) == test::read_text(folder / "copy.gguf")) << path;
  }
}

TEST(WriterTest, UnknownMetadataIsCarriedThrough) {
  const test::TempFolder folder;
  const std::string file = padded(header(
      {
          kv("u8", kU8, "\xff"),
          kv("i8", kI8, "\x80"),
          kv("u16", kU16, "ab"),
          kv("i16", kI16, "cd"),
          kv("u32", kU32, "efgh"),
          kv("i32", kI32, "ijkl"),
          kv("nan", kF32, num(0x7F800001u)),
          kv("odd bool", kBool, "\x07"),
          kv("u64", kU64, "12345678"),
          kv("i64", kI64, "87654321"),
          kv("f64", kF64, num(-0.0)),
          kv("tokenizer.chat_template", kStr, str(std::string("{{ \xff\xfe\0\r\n\xed\xa0\x80 }}", 14))),
          kv("empty", kStr, str("")),
          kv("key with \n and \xff", kU8, "x"),
          kv("a u8", kArr, arr(kU8, 3, "abc")),
          kv("a i8", kArr, arr(kI8, 1, "a")),
          kv("a u16", kArr, arr(kU16, 2, "abcd")),
          kv("a i16", kArr, arr(kI16, 1, "ab")),
          kv("a u32", kArr, arr(kU32, 1, "abcd")),
          kv("a i32", kArr, arr(kI32, 1, "abcd")),
          kv("a f32", kArr, arr(kF32, 1, num(0xFFC12345u))),
          kv("a bool", kArr, arr(kBool, 3, std::string("\0\1\2", 3))),
          kv("a u64", kArr, arr(kU64, 1, "12345678")),
          kv("a i64", kArr, arr(kI64, 1, "12345678")),
          kv("a f64", kArr, arr(kF64, 1, "12345678")),
          kv("a str", kArr, arr(kStr, 3, str("\xff") + str("") + str(std::string(3, '\0')))),
          kv("a none", kArr, arr(kStr, 0, "")),
      },
      {}));
  put(folder / "in.gguf", file);
  copy(Reader(folder / "in.gguf"), folder / "out.gguf");
  EXPECT_EQ(test::read_text(folder / "out.gguf"), file);
}

TEST(WriterTest, LaysTensorsOutInOrderWithPadding) {
  const test::TempFolder folder;
  for (const uint32_t alignment : {8u, 32u, 128u}) {
    Metadata metadata;
    metadata.set_integer("general.alignment", alignment);
    Writer writer(
        folder / "out.gguf", metadata,
        {tensor_of("first", {3}, formats::Type::F32), tensor_of("second", {32, 2, 1, 3}, formats::Type::Q8_0)});
    EXPECT_EQ(writer.tensors()[0].n_bytes, 12u);
    EXPECT_EQ(writer.tensors()[0].offset, 0u);
    EXPECT_EQ(writer.tensors()[1].n_bytes, 204u);
    EXPECT_EQ(writer.tensors()[1].offset, padded("twelve bytes", alignment).size());
    writer.append(bytes_of("twel"));
    writer.append({});
    writer.append(bytes_of("ve bytes"));
    writer.append(bytes_of(std::string(204, '2')));
    writer.finish();
    const std::string head =
        header({kv("general.alignment", kU32, num(alignment))},
               {tensor("first", {3}, 0, 0), tensor("second", {32, 2, 1, 3}, 8, writer.tensors()[1].offset)});
    EXPECT_EQ(test::read_text(folder / "out.gguf"),
              padded(head, alignment) + padded("twelve bytes", alignment) + padded(std::string(204, '2'), alignment));
  }
}

TEST(WriterTest, NormalisesWhatTheReaderTolerates) {
  const test::TempFolder folder;
  put(folder / "in.gguf", padded(header({}, {tensor("b", {1}, 0, 96), tensor("a", {1}, 0, 32)}, 2)) +
                              std::string(32, '.') + padded("aaaa") + std::string(32, '.') + "bbbb");
  copy(Reader(folder / "in.gguf"), folder / "out.gguf");
  EXPECT_EQ(test::read_text(folder / "out.gguf"),
            padded(header({}, {tensor("b", {1}, 0, 0), tensor("a", {1}, 0, 32)})) + padded("bbbb") + padded("aaaa"));
}

TEST(WriterTest, RefusesAlignmentsThatOthersCannotLoad) {
  const test::TempFolder folder;
  Metadata metadata;
  metadata.set_integer("general.alignment", 24);
  EXPECT_EQ(error_of([&] { Writer(folder / "out.gguf", metadata, {}); }),
            folder / "out.gguf" + ": key 'general.alignment': found 24, expected a power of two to write");
  EXPECT_EQ(files_in(folder / ""), 0u);
}

TEST(WriterTest, AnUnfinishedFileLeavesNothing) {
  const test::TempFolder folder;
  {
    Writer writer(folder / "out.gguf", Metadata(), {tensor_of("a", {8}, formats::Type::F32)});
    writer.append(bytes_of("half of it"));
  }
  EXPECT_EQ(files_in(folder / ""), 0u);
}

TEST(WriterTest, TooLittleSpaceShowsBeforeAnyWork) {
  const test::TempFolder folder;
  const std::string error = error_of([&] {
    Writer(folder / "out.gguf", Metadata(), {tensor_of("a", {int64_t{1} << 40, 1 << 19}, formats::Type::F32)});
  });
  EXPECT_NE(error.find("out.gguf: needs 2305843009213694048 bytes"), std::string::npos) << error;
  EXPECT_EQ(files_in(folder / ""), 0u);
  EXPECT_EQ(error_of([&] {
              Writer(folder / "out.gguf", Metadata(),
                     {tensor_of("a", {int64_t{1} << 61}, formats::Type::F32),
                      tensor_of("b", {int64_t{1} << 61}, formats::Type::F32)});
            }),
            folder / "out.gguf" + ": tensor 'b': all tensors together exceed 2^64 bytes");
  EXPECT_EQ(files_in(folder / ""), 0u);
}

TEST(WriterTest, ADiskThatFillsUpLeavesNothing) {
  const test::TempFolder folder;
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  const rlimit limit{65536, before.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &limit);
  const std::string error = error_of([&] {
    Writer writer(folder / "out.gguf", Metadata(), {tensor_of("a", {1 << 20}, formats::Type::F32)});
    for (int i = 0; i < 1024; ++i) writer.append(bytes_of(std::string(4096, 'x')));
    writer.finish();
  });
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_NE(error.find("File too large"), std::string::npos) << error;
  EXPECT_EQ(files_in(folder / ""), 0u);
}

// Empty tensors have no bytes, wherever they stand; appending nothing for them is allowed.
TEST(Writer, ScalarsAndEmptyTensors) {
  const test::TempFolder folder;
  Writer writer(folder / "out", Metadata(),
                {tensor_of("first", {0}, formats::Type::F32), tensor_of("scalar", {}, formats::Type::F32),
                 tensor_of("none", {256, 0}, formats::Type::Q4_K), tensor_of("a", {8}, formats::Type::F32),
                 tensor_of("last", {0}, formats::Type::F32)});
  writer.append(bytes_of("1234"));
  writer.append({});
  writer.append(bytes_of(std::string(32, 'x')));
  writer.append({});
  writer.finish();
  const Reader reader(folder / "out");
  ASSERT_EQ(reader.tensors().size(), 5u);
  EXPECT_EQ(reader.total_bytes(), 36u);
  EXPECT_TRUE(std::ranges::equal(reader.bytes(*reader.find("scalar")), bytes_of("1234")));
}

TEST(WriterDeathTest, MisuseIsABug) {
  const test::TempFolder folder;
  const TensorInfo a = tensor_of("a", {8}, formats::Type::F32);
  EXPECT_DEATH(Writer(folder / "out", Metadata(), {a, a}), "internal check failed");
  EXPECT_DEATH(Writer(folder / "out", Metadata(), {tensor_of("a", {31}, formats::Type::Q8_0)}),
               "internal check failed");
  EXPECT_DEATH(Writer(folder / "out", Metadata(), {tensor_of("a", {-1}, formats::Type::F32)}), "internal check failed");
  Writer writer(folder / "out", Metadata(), {a});
  EXPECT_DEATH(writer.append(bytes_of(std::string(33, 'x'))), "internal check failed");
  writer.append(bytes_of(std::string(31, 'x')));
  EXPECT_DEATH(writer.finish(), "internal check failed");
  writer.append(bytes_of("x"));
  EXPECT_DEATH(writer.append({}), "internal check failed");
  writer.finish();
}

}  // namespace
}  // namespace steelyard::gguf
