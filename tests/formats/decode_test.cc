// Decoding against reference blocks: every quantized type of formats.def, bit for bit.
#include <bit>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "formats/codec.h"
#include "support.h"

namespace steelyard::formats {
namespace {

std::vector<const Format*> quantized_formats() {
  std::vector<const Format*> result;
  for (const Format* format : all_formats()) {
    if (format->is_quantized()) result.push_back(format);
  }
  return result;
}

class Decode : public testing::TestWithParam<const Format*> {
 protected:
  const Format& format_ = *GetParam();
  const std::string stem_ = test::golden("formats/" + std::string(format_.name));
  const std::string blocks_ = test::read_text(stem_ + ".blocks.bin");
  const std::vector<float> values_ = test::read_values<float>(stem_ + ".values.f32");

  int64_t n_blocks() const { return static_cast<int64_t>(blocks_.size()) / format_.block_bytes; }
  const std::byte* block(int64_t b) const {
    return reinterpret_cast<const std::byte*>(blocks_.data()) + b * format_.block_bytes;
  }
};

INSTANTIATE_TEST_SUITE_P(AllTypes, Decode, testing::ValuesIn(quantized_formats()),
                         [](const auto& test) { return std::string(test.param->name); });

/// The bits of a float, with one zero: the sign of a zero weight means nothing.
uint32_t bits(float value) { return value == 0.0f ? 0 : std::bit_cast<uint32_t>(value); }

TEST_P(Decode, IsBitExact) {
  ASSERT_GT(n_blocks(), 0);
  ASSERT_EQ(values_.size(), static_cast<size_t>(n_blocks() * format_.block_len));
  std::vector<float> decoded(values_.size(), std::numeric_limits<float>::quiet_NaN());
  format_.decode(block(0), n_blocks(), decoded.data());
  for (size_t i = 0; i < values_.size(); ++i) {
    ASSERT_EQ(bits(decoded[i]), bits(values_[i])) << "value " << i << ": " << decoded[i] << " for " << values_[i];
  }
}

TEST_P(Decode, GroupsAreTheSameValues) {
  for (int64_t b = 0; b < n_blocks(); ++b) {
    for (int g = 0; g < format_.block_len / kGroupLen; ++g) {
      Group group;
      format_.unpack(block(b), g, group);
      for (int i = 0; i < kGroupLen; ++i) {
        const float product = group.scale * static_cast<float>(group.q[i]);
        const float expected = values_[static_cast<size_t>(b * format_.block_len + g * kGroupLen + i)];
        ASSERT_EQ(bits(product - group.min), bits(expected)) << "block " << b << " group " << g << " value " << i;
      }
    }
  }
}

TEST_P(Decode, AnyAddressWillDo) {
  std::string shifted = "x" + blocks_;
  std::vector<float> decoded(values_.size());
  format_.decode(reinterpret_cast<const std::byte*>(shifted.data()) + 1, n_blocks(), decoded.data());
  for (size_t i = 0; i < values_.size(); ++i) ASSERT_EQ(bits(decoded[i]), bits(values_[i]));
}

TEST_P(Decode, LayoutIsTheIndexed) {
  const auto index = nlohmann::json::parse(test::read_text(test::golden("formats/index.json")));
  for (const auto& entry : index.at("types")) {
    if (entry.at("type") != std::string(format_.name)) continue;
    EXPECT_EQ(entry.at("ggml_type_id"), static_cast<uint32_t>(format_.type));
    EXPECT_EQ(entry.at("block_len"), format_.block_len);
    EXPECT_EQ(entry.at("block_bytes"), format_.block_bytes);
    EXPECT_EQ(entry.at("n_blocks"), n_blocks());
    return;
  }
  FAIL() << "index.json has no " << format_.name;
}

TEST(DecodeIndex, EveryIndexedTypeIsTested) {
  const auto index = nlohmann::json::parse(test::read_text(test::golden("formats/index.json")));
  EXPECT_EQ(index.at("types").size(), quantized_formats().size());
}

TEST(DecodePlain, FloatsAsTheyAre) {
  const std::vector<float> values = {0.0f, -1.5f, 1e-40f, 3.0e38f, std::numeric_limits<float>::infinity()};
  std::vector<float> decoded(values.size());
  format(Type::F32).decode(reinterpret_cast<const std::byte*>(values.data()), 5, decoded.data());
  EXPECT_EQ(decoded, values);

  const std::vector<uint16_t> halves = {0x3C00, 0xC000, 0x0001, 0x7BFF};
  format(Type::F16).decode(reinterpret_cast<const std::byte*>(halves.data()), 4, decoded.data());
  EXPECT_EQ(std::vector<float>(decoded.begin(), decoded.begin() + 4), (std::vector{1.0f, -2.0f, 0x1p-24f, 65504.0f}));

  const std::vector<uint16_t> bfloats = {0x3F80, 0xC000, 0x0001, 0x7F7F};
  format(Type::BF16).decode(reinterpret_cast<const std::byte*>(bfloats.data()), 4, decoded.data());
  EXPECT_EQ(std::vector<float>(decoded.begin(), decoded.begin() + 4),
            (std::vector{1.0f, -2.0f, 0x1p-133f, 0x1.FEp127f}));
}

TEST(DecodePlain, DoublesRoundToNearest) {
  const std::vector<double> values = {1.0 + 0x1p-25, 1.0 + 0x1.8p-24, -0.1, 1e-50};
  std::vector<float> decoded(values.size());
  format(Type::F64).decode(reinterpret_cast<const std::byte*>(values.data()), 4, decoded.data());
  EXPECT_EQ(decoded, (std::vector{1.0f, 1.0f + 0x1p-23f, -0.1f, 0.0f}));
}

}  // namespace
}  // namespace steelyard::formats
