// The vocabulary of simd.h in SSE2, the baseline of x86-64.
#pragma once

#include <emmintrin.h>

namespace steelyard::simd::inline STEELYARD_TARGET {

inline constexpr int kLanes = 4;

using Floats [[gnu::vector_size(16)]] = float;
using Ints [[gnu::vector_size(16)]] = int32_t;
using Words [[gnu::vector_size(16)]] = uint32_t;

inline Floats fma(const Floats& a, const Floats& b, const Floats& c) { return a * b + c; }
inline Floats square_root(const Floats& v) { return _mm_sqrt_ps(v); }
inline uint32_t lane_bits(const Ints& mask) {
  return static_cast<uint32_t>(_mm_movemask_ps(reinterpret_cast<__m128>(mask)));
}
inline Ints dot_pairs(const Ints& sums, const Ints& a, const Ints& b) {
  return sums + reinterpret_cast<Ints>(_mm_madd_epi16(reinterpret_cast<__m128i>(a), reinterpret_cast<__m128i>(b)));
}
inline void store_pairs(const Ints& a, const Ints& b, int16_t* p) {
  const __m128i packed = _mm_packs_epi32(reinterpret_cast<__m128i>(a), reinterpret_cast<__m128i>(b));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), packed);
}

// ---- a register of 16 bytes

inline Ints spread_part(uint64_t bits) {
  const __m128i bit_of = _mm_set1_epi64x(static_cast<int64_t>(0x8040201008040201));
  const auto low = static_cast<int64_t>((bits & 0xFF) * 0x0101010101010101u);
  const auto high = static_cast<int64_t>((bits >> 8 & 0xFF) * 0x0101010101010101u);
  return reinterpret_cast<Ints>(_mm_cmpeq_epi8(_mm_and_si128(_mm_set_epi64x(high, low), bit_of), bit_of));
}
inline Ints negate_part(const Ints& v, uint64_t bits) {
  const auto mask = reinterpret_cast<__m128i>(spread_part(bits));
  return reinterpret_cast<Ints>(_mm_sub_epi8(_mm_xor_si128(reinterpret_cast<__m128i>(v), mask), mask));
}
inline Ints look_up_part(const int8_t* table, const Ints& v) {
  uint8_t bytes[16];
  std::memcpy(bytes, &v, sizeof(bytes));
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(table[byte & 15]);
  Ints found;
  std::memcpy(&found, bytes, sizeof(found));
  return found;
}

template <Factor>
inline Ints dot_part(const Ints& sums, const Ints& q, const Ints& x) {
  const auto codes = reinterpret_cast<__m128i>(q), inputs = reinterpret_cast<__m128i>(x);
  const auto low = [](__m128i v) { return _mm_srai_epi16(_mm_unpacklo_epi8(v, v), 8); };
  const auto high = [](__m128i v) { return _mm_srai_epi16(_mm_unpackhi_epi8(v, v), 8); };
  const __m128 first = _mm_castsi128_ps(_mm_madd_epi16(low(codes), low(inputs)));
  const __m128 second = _mm_castsi128_ps(_mm_madd_epi16(high(codes), high(inputs)));
  // Sums of pairs: the even ones and the odd ones.
  const __m128 even = _mm_shuffle_ps(first, second, 0x88), odd = _mm_shuffle_ps(first, second, 0xDD);
  return sums + reinterpret_cast<Ints>(even) + reinterpret_cast<Ints>(odd);
}

}  // namespace steelyard::simd::inline STEELYARD_TARGET

#include "simd/four_lanes.h"
