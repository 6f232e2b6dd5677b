// Conversions of 16-bit floats against the definition of the formats in double arithmetic: all 65536 values on the way
// up, and every float whose upper half is arbitrary and whose lower half is near a rounding boundary on the way down.
#include "base/half.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace steelyard {
namespace {

// A binary floating-point format with `mantissa` stored bits and `exponent` exponent bits.
struct Layout {
  int exponent;
  int mantissa;
  int bias() const { return (1 << (exponent - 1)) - 1; }
};
constexpr Layout kHalf{5, 10};
constexpr Layout kBFloat16{8, 7};

double value_of(Layout layout, uint16_t bits) {
  const double sign = bits & 0x8000 ? -1 : 1;
  const int exponent = (bits & 0x7FFF) >> layout.mantissa;
  const int mantissa = bits & ((1 << layout.mantissa) - 1);
  if (exponent == (1 << layout.exponent) - 1) {
    return mantissa ? std::numeric_limits<double>::quiet_NaN() : sign * std::numeric_limits<double>::infinity();
  }
  const int implicit = exponent == 0 ? 0 : 1 << layout.mantissa;
  return sign * std::ldexp(mantissa + implicit, std::max(exponent, 1) - layout.bias() - layout.mantissa);
}

// `x` rounded to the nearest value of the format, ties to even. Scaling and rounding are exact in double.
double rounded(Layout layout, double x) {
  if (x == 0 || std::isinf(x)) return x;
  const int ulp = std::max(std::ilogb(x), 1 - layout.bias()) - layout.mantissa;
  const double y = std::ldexp(std::nearbyint(std::ldexp(x, -ulp)), ulp);
  const bool overflows = std::abs(y) >= std::ldexp(1.0, layout.bias() + 1);
  return overflows ? std::copysign(std::numeric_limits<double>::infinity(), x) : y;
}

template <typename T>
void expect_widening(Layout layout) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const float wide = to_float(T{static_cast<uint16_t>(bits)});
    const double expected = value_of(layout, static_cast<uint16_t>(bits));
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(wide)) << bits;
    } else {
      ASSERT_EQ(wide, expected) << bits;
    }
    ASSERT_EQ(std::signbit(wide), bits >= 0x8000) << bits;
  }
}

template <typename T>
void expect_narrowing(Layout layout, T (*narrow)(float)) {
  constexpr uint32_t kLow[] = {0,      1,      0x0FFF, 0x1000, 0x1001, 0x2FFF, 0x3000,
                               0x3001, 0x7FFF, 0x8000, 0x8001, 0xC000, 0xFFFF};
  for (uint32_t high = 0; high < 65536; ++high) {
    for (const uint32_t low : kLow) {
      const auto x = std::bit_cast<float>(high << 16 | low);
      const T narrowed = narrow(x);
      ASSERT_EQ(narrowed.bits >> 15, high >> 15) << x;
      if (std::isnan(x)) {
        ASSERT_TRUE(std::isnan(value_of(layout, narrowed.bits))) << high << " " << low;
      } else {
        ASSERT_EQ(value_of(layout, narrowed.bits), rounded(layout, x)) << x;
      }
    }
  }
}

TEST(HalfTest, WidensEveryValueExactly) { expect_widening<Half>(kHalf); }
TEST(HalfTest, NarrowsToTheNearestTiesToEven) { expect_narrowing<Half>(kHalf, to_half); }
TEST(BFloat16Test, WidensEveryValueExactly) { expect_widening<BFloat16>(kBFloat16); }
TEST(BFloat16Test, NarrowsToTheNearestTiesToEven) { expect_narrowing<BFloat16>(kBFloat16, to_bfloat16); }

TEST(HalfTest, EveryValueSurvivesTheRoundTrip) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const Half half{static_cast<uint16_t>(bits)};
    const BFloat16 brain{static_cast<uint16_t>(bits)};
    if (!std::isnan(to_float(half))) {
      ASSERT_EQ(to_half(to_float(half)).bits, bits);
    }
    if (!std::isnan(to_float(brain))) {
      ASSERT_EQ(to_bfloat16(to_float(brain)).bits, bits);
    }
  }
}

TEST(HalfTest, TiesBetweenAllNeighboursGoToTheEvenOne) {
  for (uint32_t bits = 0; bits < 0x7BFF; ++bits) {
    const float low = to_float(Half{static_cast<uint16_t>(bits)});
    const float high = to_float(Half{static_cast<uint16_t>(bits + 1)});
    const float middle = (low + high) / 2;  // exact: 12 bits of mantissa
    const uint32_t even = bits + (bits & 1);
    ASSERT_EQ(to_half(middle).bits, even) << middle;
    ASSERT_EQ(to_half(std::nextafter(middle, low)).bits, bits) << middle;
    ASSERT_EQ(to_half(std::nextafter(middle, high)).bits, bits + 1) << middle;
    ASSERT_EQ(to_half(-middle).bits, even | 0x8000) << middle;
  }
}

TEST(HalfTest, NaNsBecomeQuietAndKeepTheirUpperPayload) {
  EXPECT_EQ(to_half(std::bit_cast<float>(0x7F802000u)).bits, 0x7E01);
  EXPECT_EQ(to_half(std::bit_cast<float>(0x7F800001u)).bits, 0x7E00);
  EXPECT_EQ(to_bfloat16(std::bit_cast<float>(0xFF810000u)).bits, 0xFFC1);
  EXPECT_EQ(to_bfloat16(std::bit_cast<float>(0x7F800001u)).bits, 0x7FC0);
}

}  // namespace
}  // namespace steelyard
