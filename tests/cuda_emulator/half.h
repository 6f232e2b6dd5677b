// __half and __nv_bfloat16: 16 bits; arithmetic is done in double and rounded once to nearest even, as the device does.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "cuda_emulator/vector_types.h"

namespace steelyard::cuda_emulator {

inline float half_to_float(uint16_t h) {
  const uint32_t sign = uint32_t(h & 0x8000) << 16, magnitude = uint32_t(h & 0x7FFF) << 13;
  // One exact multiplication rebiases the exponent, subnormals included; infinities and NaN keep their bits.
  const float finite = std::bit_cast<float>(magnitude) * 0x1p112f;
  const bool special = (h & 0x7C00) == 0x7C00;
  return std::bit_cast<float>(sign | (special ? 0x7F800000u | magnitude : std::bit_cast<uint32_t>(finite)));
}

/// |a| in a binary format with `mantissa` stored bits and least normal exponent `least`: its bits without sign.
/// `overflow`: from where on a is infinite.
inline uint32_t round_double(double a, int mantissa, int least, uint32_t infinity, double overflow) {
  a = std::fabs(a);
  if (std::isnan(a)) return 0x7FFF;  // CUDA's canonical one
  if (a >= overflow) return infinity;
  if (a == 0) return 0;
  int e;
  std::frexp(a, &e);
  e = std::max(e - 1, least);
  const auto significand = uint64_t(std::nearbyint(std::ldexp(a, mantissa - e)));
  if (significand >> mantissa == 0) return uint32_t(significand);
  // Adding lets a carry flow into the exponent.
  return uint32_t((e - least) << mantissa) + uint32_t(significand);
}

inline uint16_t with_sign(uint32_t magnitude, double d) {
  return uint16_t(magnitude | (magnitude != 0x7FFF && std::signbit(d) ? 0x8000u : 0u));
}
inline uint16_t double_to_half(double d) { return with_sign(round_double(d, 10, -14, 0x7C00, 65520.0), d); }
inline uint16_t double_to_bf16(double d) { return with_sign(round_double(d, 7, -126, 0x7F80, 0x1.FFp127), d); }

inline uint16_t float_to_half(float f) {
  const uint32_t bits = std::bit_cast<uint32_t>(f), sign = bits >> 16 & 0x8000, a = bits & 0x7FFFFFFF;
  if (a > 0x7F800000u) return 0x7FFF;
  if (a >= 0x477FF000u) return uint16_t(sign | 0x7C00);  // 65520 and more
  if (a < 0x38800000u) {                                 // a subnormal: the adder rounds it
    return uint16_t(sign | (std::bit_cast<uint32_t>(std::bit_cast<float>(a) + 0.5f) - 0x3F000000u));
  }
  return uint16_t(sign | ((a + 0xC8000FFFu + (a >> 13 & 1)) >> 13));
}
inline float bf16_to_float(uint16_t b) { return std::bit_cast<float>(uint32_t(b) << 16); }
inline uint16_t float_to_bf16(float f) {
  const auto bits = std::bit_cast<uint32_t>(f);
  if ((bits & 0x7FFFFFFF) > 0x7F800000u) return 0x7FFF;
  return uint16_t((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

/// a * b + c with one rounding when narrowed later: the product of two short significands is exact in double, and the
/// sum is rounded to odd, so that narrowing cannot round twice.
inline double fma_to_odd(double a, double b, double c) {
  const double product = a * b, sum = product + c;
  if (!std::isfinite(sum)) return sum;
  const double part = sum - product, error = (product - (sum - part)) + (c - part);
  if (error == 0) return sum;
  auto bits = std::bit_cast<uint64_t>(sum);
  if (!(bits & 1)) bits += (error > 0) == (sum > 0) ? 1 : -1;
  return std::bit_cast<double>(bits);
}

}  // namespace steelyard::cuda_emulator

struct alignas(2) __half {
  uint16_t bits;
  __half() = default;
  explicit __half(float f) : bits(::steelyard::cuda_emulator::float_to_half(f)) {}
  operator float() const { return ::steelyard::cuda_emulator::half_to_float(bits); }
};
struct alignas(2) __nv_bfloat16 {
  uint16_t bits;
  __nv_bfloat16() = default;
  explicit __nv_bfloat16(float f) : bits(::steelyard::cuda_emulator::float_to_bf16(f)) {}
  operator float() const { return ::steelyard::cuda_emulator::bf16_to_float(bits); }
};
struct alignas(4) __half2 {
  __half x, y;
};
struct alignas(4) __nv_bfloat162 {
  __nv_bfloat16 x, y;
};

inline float __half2float(__half h) { return float(h); }
inline __half __float2half_rn(float f) { return __half(f); }
inline __half __ushort_as_half(unsigned short u) { return std::bit_cast<__half>(u); }
inline unsigned short __half_as_ushort(__half h) { return h.bits; }
inline float __bfloat162float(__nv_bfloat16 b) { return float(b); }
inline __nv_bfloat16 __float2bfloat16_rn(float f) { return __nv_bfloat16(f); }
inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short u) { return std::bit_cast<__nv_bfloat16>(u); }
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 b) { return b.bits; }
inline __half2 __floats2half2_rn(float a, float b) { return {__half(a), __half(b)}; }
inline __nv_bfloat162 __floats2bfloat162_rn(float a, float b) { return {__nv_bfloat16(a), __nv_bfloat16(b)}; }
