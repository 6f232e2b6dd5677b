// Weights that become zero because their type has no scale as small: each type is given rows far below its least one.
#include "quantize/lost_rows.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "quantize/encode.h"
#include "support.h"

namespace steelyard::quantize {
namespace {

constexpr int64_t kColumns = 256, kRows = 4;

gguf::TensorInfo tensor(int64_t n_expert) {
  gguf::TensorInfo info;
  info.name = "blk.0.ffn_up.weight";
  info.n_dims = 3;
  info.ne = {kColumns, kRows, n_expert, 1};
  return info;
}

// Rows of weights around `size`.
std::vector<float> weights(int64_t n_rows, float size) {
  std::vector<float> values(static_cast<size_t>(n_rows * kColumns));
  for (size_t i = 0; i < values.size(); ++i) values[i] = size * (static_cast<float>(i % 7) - 3.0f);
  return values;
}

// What is said of `values` in a type, as lines.
std::vector<std::string> found(const std::vector<float>& values, int64_t n_expert, const formats::Format& to) {
  const gguf::TensorInfo info = tensor(n_expert);
  RowEncoder encoder(info, to, nullptr, formats::Effort::kFast, "m.gguf");
  std::vector<std::byte> out(static_cast<size_t>(info.n_rows()) * encoder.target_row_bytes());
  encoder.encode(0, info.n_rows(), std::as_bytes(std::span(values)).data(), out.data());
  std::vector<plan::Finding> findings;
  encoder.lost().add_to(findings);
  std::vector<std::string> lines;
  for (const plan::Finding& finding : findings)
    lines.push_back(fmt::format("{}: {}", name(finding.severity), describe(finding)));
  return lines;
}

using Lines = std::vector<std::string>;

// In every type that can be written a tensor is either there or reported.
TEST(LostRows, ATensorThatBecomesZeroIsNamedInEveryType) {
  int n_lost = 0;
  for (const formats::Format* type : formats::all_formats()) {
    if (type->encoder == nullptr || type->decode == nullptr) continue;
    EXPECT_EQ(found(weights(kRows, 0.01f), 1, *type), Lines{}) << type->name;
    const std::vector<float> tiny = weights(kRows, 1e-38f);
    std::vector<float> decoded(tiny.size());
    const gguf::TensorInfo info = tensor(1);
    RowEncoder encoder(info, *type, nullptr, formats::Effort::kFast, "m.gguf");
    std::vector<std::byte> out(kRows * encoder.target_row_bytes());
    encoder.encode(0, kRows, std::as_bytes(std::span(tiny)).data(), out.data());
    type->decode(out.data(), kRows * kColumns / type->block_len, decoded.data());
    const bool is_lost = std::ranges::all_of(decoded, [](float value) { return value == 0.0f; });
    n_lost += is_lost;
    EXPECT_EQ(found(tiny, 1, *type),
              is_lost ? Lines{fmt::format("warning: all weights became zero: they are too small for the type: "
                                          "blk.0.ffn_up.weight ({})",
                                          type->name)}
                      : Lines{})
        << type->name;
  }
  EXPECT_GT(n_lost, 10);
}

TEST(LostRows, ExpertsAndRowsAreCounted) {
  const formats::Format& q8 = *formats::find_format("Q8_0");
  std::vector<float> values = weights(3 * kRows, 0.01f);
  const auto make_tiny = [&](int64_t row) {
    for (int64_t i = 0; i < kColumns; ++i) values[static_cast<size_t>(row * kColumns + i)] *= 1e-9f;
  };
  make_tiny(1);
  EXPECT_EQ(found(values, 3, q8), Lines{"note: all weights of a row became zero: they are too small for the type: "
                                        "blk.0.ffn_up.weight (Q8_0, 1 of 12 rows)"});
  for (int64_t row = kRows; row < 2 * kRows; ++row) make_tiny(row);
  EXPECT_EQ(found(values, 3, q8),
            Lines{"warning: all weights of an expert became zero: they are too small for the type: "
                  "blk.0.ffn_up.weight (Q8_0, 1 of 3 experts)"});
}

// Zeros that were there are no loss, and are not counted: neither rows of an unused vocabulary nor experts.
TEST(LostRows, ZerosOfTheSourceAreNone) {
  const formats::Format& q8 = *formats::find_format("Q8_0");
  std::vector<float> values = weights(2 * kRows, 0.01f);
  std::fill_n(values.begin(), kRows * kColumns, 0.0f);
  EXPECT_EQ(found(values, 2, q8), Lines{});
  EXPECT_EQ(found(std::vector<float>(values.size(), 0.0f), 2, q8), Lines{});
}

}  // namespace
}  // namespace steelyard::quantize
