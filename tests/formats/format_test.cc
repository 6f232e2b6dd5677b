// The registry: look-ups, sizes, and what plans ask of a type.
#include "formats/format.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <limits>
#include <regex>
#include <set>

#include "support.h"

namespace steelyard::formats {
namespace {

TEST(Format, IsFoundByIdAndByName) {
  std::set<uint32_t> ids;
  for (const Format* format : all_formats()) {
    const auto id = static_cast<uint32_t>(format->type);
    EXPECT_TRUE(ids.insert(id).second) << id << " twice";
    EXPECT_EQ(find_format(id), format);
    EXPECT_EQ(find_format(format->name), format);
    EXPECT_EQ(&formats::format(format->type), format);
  }
  EXPECT_EQ(find_format(uint32_t{22})->name, "IQ2_S");
  EXPECT_EQ(find_format("q4_k"), &format(Type::Q4_K));
  EXPECT_EQ(find_format("Bf16"), &format(Type::BF16));
}

TEST(Format, UnknownIsNull) {
  EXPECT_EQ(find_format(uint32_t{4}), nullptr);  // Q4_2, long gone
  EXPECT_EQ(find_format(uint32_t{9999}), nullptr);
  EXPECT_EQ(find_format(std::numeric_limits<uint32_t>::max()), nullptr);
  for (const char* name : {"", "Q4", "Q4_K_M", "Q4_K ", "IQ2-S", "COUNT"})
    EXPECT_EQ(find_format(name), nullptr) << name;
  EXPECT_EQ(find_format(std::string_view("Q4_K\0", 5)), nullptr);
}

TEST(Format, OrderIsThatOfTheList) {
  const std::vector<std::string> names = {
#define FORMAT(name, id) #name,
#include "formats/formats.def"
#undef FORMAT
  };
  ASSERT_EQ(all_formats().size(), names.size());
  for (size_t i = 0; i < names.size(); ++i) EXPECT_EQ(all_formats()[i]->name, names[i]);
}

TEST(Format, EntriesAreComplete) {
  for (const Format* format : all_formats()) {
    SCOPED_TRACE(format->name);
    const bool integer = format->name.starts_with("I") && !format->name.starts_with("IQ");
    EXPECT_GT(format->block_bytes, 0);
    EXPECT_LE(format->block_len, kMaxBlockLen);
    EXPECT_EQ(format->decode == nullptr, integer);
    EXPECT_EQ(format->unpack != nullptr, format->is_quantized());
    EXPECT_EQ(format->fallback.has_value(), format->is_quantized());
    if (format->encoder == nullptr) continue;
    const Encoder& encoder = *format->encoder;
    EXPECT_TRUE(encoder.vector_dim == 1 || encoder.vector_dim == 4 || encoder.vector_dim == 8);
    EXPECT_EQ(format->block_len % encoder.vector_dim, 0);
  }
}

TEST(Format, FallbacksEndAtPlainTypes) {
  for (const Format* format : all_formats()) {
    for (const Format* from = format; from->fallback; from = &formats::format(*from->fallback)) {
      EXPECT_LT(formats::format(*from->fallback).block_len, from->block_len) << from->name;
    }
  }
}

TEST(Format, FallbacksAreTheCustomaryOnes) {
  const std::vector<std::pair<Type, std::vector<Type>>> expected = {
      {Type::IQ4_NL, {Type::IQ1_S, Type::IQ1_M, Type::IQ2_XXS, Type::IQ2_XS, Type::IQ2_S}},
      {Type::IQ4_NL, {Type::IQ3_XXS, Type::IQ3_S, Type::IQ4_XS}},
      {Type::Q4_0, {Type::Q2_K, Type::Q3_K, Type::TQ1_0, Type::TQ2_0, Type::Q2_0, Type::Q1_0, Type::NVFP4}},
      {Type::Q5_0, {Type::Q4_K}},
      {Type::Q5_1, {Type::Q5_K}},
      {Type::Q8_0, {Type::Q6_K}},
      {Type::F16, {Type::Q4_0, Type::Q4_1, Type::Q5_0, Type::Q5_1, Type::Q8_0, Type::IQ4_NL, Type::MXFP4}},
  };
  for (const auto& [fallback, types] : expected) {
    for (const Type type : types) EXPECT_EQ(format(type).fallback, fallback) << format(type).name;
  }
}

TEST(Format, ImportanceIsRequiredByTheSmallestCodebooks) {
  const std::set<Type> required = {Type::IQ1_S, Type::IQ1_M, Type::IQ2_XXS, Type::IQ2_XS, Type::IQ2_S, Type::IQ3_XXS};
  const std::set<Type> ignored = {Type::F32, Type::F16, Type::BF16, Type::F64, Type::I8,
                                  Type::I16, Type::I32, Type::I64,  Type::Q8_0};
  for (const Format* format : all_formats()) {
    const Importance expected = required.contains(format->type)  ? Importance::kRequired
                                : ignored.contains(format->type) ? Importance::kIgnored
                                                                 : Importance::kUsed;
    EXPECT_EQ(format->importance, expected) << format->name;
  }
}

TEST(Format, RowBytes) {
  EXPECT_EQ(row_bytes(format(Type::F32), 3), 12u);
  EXPECT_EQ(row_bytes(format(Type::I64), 3), 24u);
  EXPECT_EQ(row_bytes(format(Type::Q4_0), 64), 36u);
  EXPECT_EQ(row_bytes(format(Type::IQ2_S), 2048), 656u);
  EXPECT_EQ(row_bytes(format(Type::Q6_K), 0), 0u);
}

TEST(Format, RowBytesOfAPartialBlockIsNothing) {
  EXPECT_EQ(row_bytes(format(Type::Q4_0), 33), std::nullopt);
  EXPECT_EQ(row_bytes(format(Type::Q4_K), 128), std::nullopt);
  EXPECT_EQ(row_bytes(format(Type::NVFP4), 32), std::nullopt);
}

TEST(Format, RowBytesDoesNotOverflow) {
  constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();
  EXPECT_EQ(row_bytes(format(Type::F32), kMax / 4), kMax / 4 * 4);
  EXPECT_EQ(row_bytes(format(Type::F32), kMax / 4 + 1), std::nullopt);
  EXPECT_EQ(row_bytes(format(Type::I8), kMax), kMax);
  EXPECT_EQ(row_bytes(format(Type::Q8_0), kMax - 31), std::nullopt);  // 34 bytes for 32 values
  EXPECT_TRUE(row_bytes(format(Type::Q4_K), kMax - 255).has_value());
}

/// docs/formats.md shows the byte table at the head of every type's file, and the numbers of the registry.
TEST(Format, DocumentAgrees) {
  const std::string document = test::read_text(STEELYARD_SOURCE_DIR "/docs/formats.md");
  for (const Format* format : all_formats()) {
    const std::string name(format->name);
    const std::string fallback(format->fallback ? formats::format(*format->fallback).name : "none");
    const char* importance = format->importance == Importance::kRequired ? "required"
                             : format->importance == Importance::kUsed   ? "used"
                                                                         : "ignored";
    const std::string row = fmt::format("| {} | {} | {} | {} | {} | {} | {} |", name,
                                        static_cast<uint32_t>(format->type), format->block_len, format->block_bytes,
                                        8.0 * format->block_bytes / format->block_len, fallback, importance);
    EXPECT_NE(document.find(row), std::string::npos) << row;

    std::string file = name;
    std::ranges::transform(file, file.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    std::ifstream header(STEELYARD_SOURCE_DIR "/src/formats/" + file + ".h");
    if (!header) continue;  // integers share a file
    for (std::string line; std::getline(header, line) && line.starts_with("//");) {
      const std::string text = line.substr(std::min<size_t>(line.size(), 3)) + "\n";
      EXPECT_NE(document.find(text), std::string::npos) << line;
    }
  }
}

/// Whoever wants to know something about a type asks its Format; a switch elsewhere would have to learn every new type.
TEST(Format, NothingOutsideFormatsSwitchesOnAType) {
  const std::regex switch_on_type(R"(case\s+(\w+::)*Type::|using\s+enum\s+(\w+::)*Type\b)");
  EXPECT_TRUE(std::regex_search("case formats::Type::Q4_K:", switch_on_type));
  EXPECT_FALSE(std::regex_search("case ValueType::kString:", switch_on_type));

  const std::filesystem::path root(STEELYARD_SOURCE_DIR);
  int files = 0;
  for (const char* folder : {"src", "tools"}) {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root / folder)) {
      const std::string path = std::filesystem::relative(entry.path(), root).string();
      if (!entry.is_regular_file() || path.starts_with("src/formats/")) continue;
      EXPECT_FALSE(std::regex_search(test::read_text(entry.path().string()), switch_on_type)) << path;
      ++files;
    }
  }
  EXPECT_GT(files, 10);
}

}  // namespace
}  // namespace steelyard::formats
