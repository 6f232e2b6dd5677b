// The numbers of a block that its values are linear in: read_scales and write_scales of every type, compiled for every
// target.
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>

#include "base/half.h"
#include "formats/format.h"
#include "support.h"

namespace steelyard::formats {
namespace {

using Bytes = std::vector<std::byte>;
using Values = std::vector<float>;

constexpr float kLargestHalf = 65504.0f;

Values decode(const Format& format, const Bytes& block) {
  Values values(static_cast<size_t>(format.block_len));
  format.decode(block.data(), 1, values.data());
  return values;
}

Values read(const Format& format, const Bytes& block) {
  Values scales(static_cast<size_t>(format.n_scales), std::numeric_limits<float>::quiet_NaN());
  format.read_scales(block.data(), scales.data());
  return scales;
}

Bytes written(const Format& format, const Values& scales, Bytes block) {
  format.write_scales(scales.data(), block.data());
  return block;
}

/// Calls body(format, block) for encoded blocks of every type with scales, for every target that this processor has.
template <class Body>
void for_each_block(const Body& body) {
  std::mt19937 random(5);
  std::student_t_distribution<float> value(5.0f);
  Values x(6 * 256);
  for (size_t i = 0; i < x.size(); ++i) x[i] = std::ldexp(value(random) + 0.5f, static_cast<int>(i / 256) * 4 - 12);
  for (const Format* chosen : all_formats()) {
    if (chosen->n_scales == 0) continue;
    ASSERT_NE(chosen->encoder, nullptr) << chosen->name << ": take blocks from elsewhere";
    for (const simd::Target target : simd::supported_targets()) {
      const Format& format = formats::format(chosen->type, target);
      SCOPED_TRACE(std::string(format.name) + ", " + std::string(format.target));
      for (size_t at = 0; at < x.size(); at += static_cast<size_t>(std::max(format.block_len, 32))) {
        Bytes block(static_cast<size_t>(format.block_bytes));
        format.encoder->encode_row(&x[at], nullptr, 1, Effort::kFast, block.data());
        body(format, block);
      }
    }
  }
}

/// What the block's values are by its scales, in exact arithmetic.
std::vector<double> linear(const Format& format, const Bytes& block) {
  const Values scales = read(format, block);
  std::vector<double> sum(static_cast<size_t>(format.block_len));
  for (size_t k = 0; k < scales.size(); ++k) {
    Values one(scales.size(), 0.0f);
    one[k] = 1.0f;
    const Values unit = decode(format, written(format, one, block));
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += double{scales[k]} * unit[i];
  }
  return sum;
}

void expect_linear(const Format& format, const Bytes& block) {
  const Values values = decode(format, block);
  const std::vector<double> expected = linear(format, block);
  double largest = 0.0, error = 0.0;
  for (size_t i = 0; i < values.size(); ++i) {
    ASSERT_TRUE(std::isfinite(values[i]) && std::isfinite(expected[i])) << i;
    largest = std::max(largest, std::abs(double{values[i]}));
    error = std::max(error, std::abs(values[i] - expected[i]));
  }
  EXPECT_GT(largest, 0.0);
  EXPECT_LE(error, 1e-6 * largest);
}

TEST(Scales, EveryTypeTellsWhetherItHasSome) {
  std::vector<std::string_view> without;
  for (const Format* chosen : all_formats()) {
    for (const simd::Target target : simd::supported_targets()) {
      const Format& format = formats::format(chosen->type, target);
      EXPECT_EQ(format.n_scales, chosen->n_scales) << format.name;
      EXPECT_EQ(format.read_scales != nullptr, format.n_scales > 0) << format.name;
      EXPECT_EQ(format.write_scales != nullptr, format.n_scales > 0) << format.name;
      EXPECT_GE(format.n_scales, 0) << format.name;
      EXPECT_LE(format.n_scales, kMaxStoredScales) << format.name;
    }
    if (chosen->is_quantized() && chosen->encoder != nullptr && chosen->n_scales == 0) without.push_back(chosen->name);
    if (!chosen->is_quantized()) {
      EXPECT_EQ(chosen->n_scales, chosen->type == Type::F32 ? 1 : 0) << chosen->name;
    }
  }
  // A new type is named here only if its blocks hold no half (or float) that its values are linear in.
  EXPECT_EQ(without, (std::vector<std::string_view>{"MXFP4", "NVFP4"}));
}

TEST(Scales, WritingWhatWasReadChangesNothing) {
  for_each_block(
      [](const Format& format, const Bytes& block) { EXPECT_EQ(written(format, read(format, block), block), block); });
}

TEST(Scales, ValuesAreLinearInThem) { for_each_block(expect_linear); }

TEST(Scales, OtherScalesGiveOtherValuesAndKeepTheCodes) {
  for_each_block([](const Format& format, const Bytes& block) {
    const Values scales = read(format, block);
    const std::vector<double> before = linear(format, block);
    for (const float factor : {0.75f, -1.5f, 2.0f}) {
      Values other = scales;
      for (float& scale : other) scale *= factor;
      const Bytes changed = written(format, other, block);
      for (size_t k = 0; k < scales.size(); ++k) {
        // Halves may be subnormal.
        EXPECT_NEAR(read(format, changed)[k], other[k], 0x1p-11f * std::abs(other[k]) + 0x1p-25f);
      }
      EXPECT_NE(decode(format, changed), decode(format, block));
      expect_linear(format, changed);
      EXPECT_EQ(written(format, scales, changed), block);
    }
    // Each for itself.
    for (size_t k = 0; k < scales.size(); ++k) {
      Values other = scales;
      other[k] = 0.0f;
      const Bytes changed = written(format, other, block);
      EXPECT_EQ(read(format, changed), other);
      EXPECT_EQ(written(format, scales, changed), block);
    }
  });
}

TEST(Scales, EveryFiniteHalfIsKept) {
  for (const Format* format : all_formats()) {
    if (format->n_scales == 0) continue;
    const Bytes zeros(static_cast<size_t>(format->block_bytes)), ones(zeros.size(), std::byte{0xFF});
    for (uint32_t bits = 0; bits < 0x10000; ++bits) {
      const float half = to_float(Half{static_cast<uint16_t>(bits)});
      if (!std::isfinite(half)) continue;
      for (const Bytes& block : {zeros, ones}) {
        Values scales(static_cast<size_t>(format->n_scales), half);
        scales.back() = -half;
        const Values stored = read(*format, written(*format, scales, block));
        for (size_t k = 0; k < scales.size(); ++k) {
          ASSERT_EQ(std::bit_cast<uint32_t>(stored[k]), std::bit_cast<uint32_t>(scales[k])) << format->name;
        }
      }
    }
  }
}

TEST(Scales, RoundToTheNearestFiniteHalf) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  struct Case {
    float scale, stored;
  };
  std::vector<Case> cases = {{1.0f, 1.0f},
                             {1.0f + 0x1p-11f, 1.0f},  // a tie goes to the even one
                             {1.0f + 0x1.1p-11f, 1.0f + 0x1p-10f},
                             {1.0f + 0x3p-11f, 1.0f + 0x1p-9f},
                             {0x0.Fp-25f, 0.0f},
                             {0x1.1p-25f, 0x1p-24f},
                             {65519.0f, kLargestHalf},
                             {65520.0f, kLargestHalf},
                             {1e6f, kLargestHalf},
                             {std::numeric_limits<float>::max(), kLargestHalf},
                             {kInfinity, kLargestHalf}};
  std::mt19937 random(3);
  for (int i = 0; i < 1000; ++i) {
    const float scale = std::ldexp(std::uniform_real_distribution<float>(1.0f, 2.0f)(random), i % 50 - 30);
    cases.push_back({scale, std::min(to_float(to_half(scale)), kLargestHalf)});
  }
  for_each_block([&](const Format& format, const Bytes& block) {
    for (const Case& c : cases) {
      for (const float sign : {1.0f, -1.0f}) {
        const Values scales(static_cast<size_t>(format.n_scales), sign * c.scale);
        const float expected = sign * (format.type == Type::F32 ? c.scale : c.stored);
        ASSERT_EQ(read(format, written(format, scales, block)), Values(scales.size(), expected)) << sign * c.scale;
      }
    }
  });
}

}  // namespace
}  // namespace steelyard::formats
