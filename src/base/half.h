// IEEE half precision and bfloat16 as they are stored in files, and their exact conversions to and from float.
#pragma once

#include <bit>
#include <cstdint>

namespace steelyard {

/// 16 bits of IEEE 754 binary16.
struct Half {
  uint16_t bits;
};

/// 16 bits of bfloat16: the upper half of a binary32.
struct BFloat16 {
  uint16_t bits;
};

/// Exact; NaN payloads are kept.
constexpr float to_float(Half h) {
  // Exponent and mantissa in place for binary32, then one exact multiplication rebiases the exponent, subnormals
  // included.
  const uint32_t magnitude = static_cast<uint32_t>(h.bits & 0x7FFFu) << 13;
  const uint32_t finite = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) * 0x1p112f);
  const uint32_t special = magnitude | 0x7F800000u;  // infinity or NaN
  const uint32_t sign = static_cast<uint32_t>(h.bits & 0x8000u) << 16;
  return std::bit_cast<float>(sign | (magnitude < 0x0F800000u ? finite : special));
}

/// Exact.
constexpr float to_float(BFloat16 b) { return std::bit_cast<float>(static_cast<uint32_t>(b.bits) << 16); }

/// Rounds to nearest, ties to even; overflows to infinity; a NaN stays a (quiet) NaN.
constexpr Half to_half(float f) {
  const uint32_t x = std::bit_cast<uint32_t>(f);
  const auto sign = static_cast<uint16_t>((x >> 16) & 0x8000u);
  const uint32_t magnitude = x & 0x7FFFFFFFu;
  if (magnitude > 0x7F800000u) return {static_cast<uint16_t>(sign | 0x7E00u | ((magnitude >> 13) & 0x3FFu))};
  if (magnitude >= 0x477FF000u) return {static_cast<uint16_t>(sign | 0x7C00u)};  // >= 65520 rounds to infinity
  if (magnitude < 0x38800000u) {  // below 2^-14: adding 0.5 leaves the rounded subnormal in the low mantissa bits
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return {static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3F000000u))};
  }
  const uint32_t odd = (magnitude >> 13) & 1u;
  return {static_cast<uint16_t>(sign | ((magnitude - 0x38000000u + 0xFFFu + odd) >> 13))};
}

/// Rounds to nearest, ties to even; a NaN stays a (quiet) NaN.
constexpr BFloat16 to_bfloat16(float f) {
  const uint32_t x = std::bit_cast<uint32_t>(f);
  if ((x & 0x7FFFFFFFu) > 0x7F800000u) return {static_cast<uint16_t>((x >> 16) | 0x40u)};
  return {static_cast<uint16_t>((x + 0x7FFFu + ((x >> 16) & 1u)) >> 16)};
}

}  // namespace steelyard
