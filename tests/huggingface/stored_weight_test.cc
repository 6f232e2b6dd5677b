// The codings in which weights are published, against values that numpy worked out from their specifications
// (tests/golden/huggingface/record_codings.py), and what they become in types of GGUF.
#include "huggingface/stored_weight.h"

#include <gtest/gtest.h>

#include <map>
#include <numeric>

#include "base/half.h"
#include "error_of.h"
#include "huggingface/checkpoint_bytes.h"

namespace steelyard::huggingface {
namespace {

using formats::Type, test::put_file, test::safetensors;

int64_t n_values(const StoredWeight& weight) {
  return std::accumulate(weight.shape().begin(), weight.shape().end(), int64_t{1}, std::multiplies());
}

class StoredWeightTest : public testing::Test {
 protected:
  StoredWeightTest() {
    std::filesystem::copy(test::golden("huggingface/codings.safetensors"), folder_ / "model.safetensors");
    checkpoint_.emplace(folder_ / ".", gguf::ReadMode::kData);
    for (auto& weight : find_weights(*checkpoint_, {}, true)) {
      const std::string name = weight->name();
      weights_.emplace(name, std::move(weight));
    }
    const auto values = test::read_values<float>(test::golden("huggingface/codings.f32"));
    auto at = values.begin();
    for (const auto& [name, weight] : weights_) {
      expected_[name].assign(at, at + n_values(*weight));
      at += n_values(*weight);
    }
    EXPECT_EQ(at, values.end());
  }

  test::TempFolder folder_;
  std::optional<Checkpoint> checkpoint_;
  std::map<std::string, std::unique_ptr<StoredWeight>> weights_;
  std::map<std::string, std::vector<float>> expected_;
};

TEST_F(StoredWeightTest, ValuesAreThoseOfNumpy) {
  for (const auto& [name, weight] : weights_) {
    std::vector<float> values(expected_[name].size());
    weight->decode(0, 1, std::ssize(values), values.data());
    EXPECT_EQ(values, expected_[name]) << name;
    const int64_t step = 3, n = (std::ssize(values) - 1) / step;
    std::vector<float> some(static_cast<size_t>(n));
    weight->decode(1, step, n, some.data());
    for (int64_t i = 0; i < n; ++i)
      EXPECT_EQ(some[static_cast<size_t>(i)], values[static_cast<size_t>(1 + i * step)]) << name << " " << i;
  }
}

TEST_F(StoredWeightTest, TypesOfGgufHoldThemAsTheyAre) {
  const std::map<std::string, Type> types = {
      {"fp8.weight", Type::BF16},     {"fp8_rows.weight", Type::BF16}, {"fp8_whole.weight", Type::BF16},
      {"experts.mxfp4", Type::MXFP4}, {"nvfp4.weight", Type::NVFP4},   {"packed.weight", Type::NVFP4},
      {"int4.weight", Type::Q4_0},    {"plain.F64", Type::F32},        {"plain.F32", Type::F32},
      {"plain.F16", Type::F16},       {"plain.BF16", Type::BF16}};
  for (const auto& [name, weight] : weights_) {
    EXPECT_EQ(weight->type(), types.at(name)) << name;
    const formats::Format& type = format(weight->type());
    if (!type.is_quantized()) continue;
    const int64_t n = n_values(*weight);
    std::vector<std::byte> blocks(static_cast<size_t>(n / type.block_len * type.block_bytes));
    weight->copy(0, n, blocks.data());
    std::vector<float> values(static_cast<size_t>(n));
    type.decode(blocks.data(), n / type.block_len, values.data());
    for (float& value : values) value *= weight->factor();
    std::vector<float> expected = expected_[name];
    if (weight->type() == Type::Q4_0) {  // its scales are halves: those of weights lie where both have all digits
      for (size_t i = 0; i < expected.size(); ++i) EXPECT_EQ(values[i], expected[i]) << name << " " << i;
    }
    EXPECT_EQ(values, expected) << name;
  }
}

class CodingFaults : public testing::Test {
 protected:
  std::string error(const std::map<std::string, test::TestTensor>& tensors) {
    put_file(folder_ / "model.safetensors", safetensors(tensors));
    const std::string message = test::error_of([&] {
      const Checkpoint checkpoint(folder_ / ".", gguf::ReadMode::kData);
      find_weights(checkpoint, {}, true);
    });
    return message.substr(std::min(message.size(), message.find("tensor '")));
  }
  test::TempFolder folder_;
};

TEST_F(CodingFaults, ScalesThatDoNotFitAreNamed) {
  const std::string bytes(1024, '\x38');
  const auto part = [&](size_t n) { return bytes.substr(0, n); };
  EXPECT_EQ(error({{"a.weight", {"F8_E4M3", {4, 4}, part(16)}}, {"a.weight_scale_inv", {"F32", {2, 1}, part(8)}}}),
            "tensor 'a.weight_scale_inv': found shape [2, 1], expected [1, 1]");
  EXPECT_EQ(error({{"a_blocks", {"U8", {2, 16}, part(32)}}, {"a_scales", {"U8", {3}, part(3)}}}),
            "tensor 'a_scales': found shape [3], expected [2]");
  EXPECT_EQ(error({{"a.weight_packed", {"I32", {2, 4}, part(32)}}, {"a.weight_scale", {"F32", {2, 3}, part(24)}}}),
            "tensor 'a.weight_packed': found [2, 4] of I32 with scales [2, 3], expected integers of 4 bits in equal "
            "groups");
  EXPECT_EQ(error({{"a.weight", {"U8", {2, 32}, part(64)}}, {"a.weight_scale", {"F8_E4M3", {2, 4}, part(8)}}}),
            "tensor 'a.weight': found no a.weight_scale_2 beside it");
}

}  // namespace
}  // namespace steelyard::huggingface
