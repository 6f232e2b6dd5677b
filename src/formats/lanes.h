// Floats side by side: the candidates of an encoder's search lie in the lanes of a vector, so that each lane sums the
// values of its candidate in order. The width is that of the instruction set; a search tries candidates in multiples of
// kMaxLanes, and so every instruction set gives the same bytes.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "formats/isa.h"

namespace steelyard::inline STEELYARD_ISA {

#if defined(__AVX512F__)
inline constexpr int kLanes = 16;
#elif defined(__AVX2__)
inline constexpr int kLanes = 8;
#else
inline constexpr int kLanes = 4;
#endif
inline constexpr int kMaxLanes = 16;

/// Compiler vectors (GCC and Clang): arithmetic, comparison and ?: work lane by lane. A comparison gives LaneMask, all
/// bits of a lane set where it holds.
using Lanes = float [[gnu::vector_size(4 * kLanes)]];
using LaneMask = int32_t [[gnu::vector_size(4 * kLanes)]];

inline Lanes broadcast(float value) { return value - Lanes{}; }

inline Lanes load(const float* values) {
  Lanes lanes;
  std::memcpy(&lanes, values, sizeof(lanes));
  return lanes;
}

/// Bytes as floats. (GCC 12 converts a vector of bytes one by one.)
inline Lanes load(const int8_t* values) {
#if defined(__AVX512F__)
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(values));
  return reinterpret_cast<Lanes>(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes)));
#elif defined(__AVX2__)
  const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(values));
  return reinterpret_cast<Lanes>(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)));
#else
  LaneMask integers;
  for (int l = 0; l < kLanes; ++l) integers[l] = values[l];
  return __builtin_convertvector(integers, Lanes);
#endif
}

inline void store(const Lanes& lanes, float* values) { std::memcpy(values, &lanes, sizeof(lanes)); }

inline Lanes max(const Lanes& a, const Lanes& b) { return a > b ? a : b; }
inline Lanes min(const Lanes& a, const Lanes& b) { return a < b ? a : b; }

inline Lanes square_root(const Lanes& values) {
#if defined(__AVX512F__)
  return _mm512_sqrt_ps(values);
#elif defined(__AVX2__)
  return _mm256_sqrt_ps(values);
#elif defined(__SSE2__)
  return _mm_sqrt_ps(values);
#else
  Lanes roots;
  for (int l = 0; l < kLanes; ++l) roots[l] = __builtin_sqrtf(values[l]);
  return roots;
#endif
}

/// Bit l of the result: whether the comparison holds in lane l.
inline uint32_t lane_bits(const LaneMask& mask) {
#if defined(__AVX512F__)
  return _mm512_movepi32_mask(reinterpret_cast<__m512i>(mask));
#elif defined(__AVX2__)
  return static_cast<uint32_t>(_mm256_movemask_ps(reinterpret_cast<__m256>(mask)));
#elif defined(__SSE2__)
  return static_cast<uint32_t>(_mm_movemask_ps(reinterpret_cast<__m128>(mask)));
#else
  uint32_t bits = 0;
  for (int l = 0; l < kLanes; ++l) bits |= static_cast<uint32_t>(mask[l] & 1) << l;
  return bits;
#endif
}

/// The largest lane.
inline float largest(const Lanes& lanes) {
  // By halves: the order does not matter to a maximum.
  float values[kLanes];
  store(lanes, values);
  for (int width = kLanes / 2; width > 0; width /= 2) {
    for (int l = 0; l < width; ++l) values[l] = values[l + width] > values[l] ? values[l + width] : values[l];
  }
  return values[0];
}

}  // namespace steelyard::inline STEELYARD_ISA
