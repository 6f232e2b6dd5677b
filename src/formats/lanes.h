// Floats side by side: the candidates of an encoder's search lie in the lanes of a vector, so that each lane sums the
// values of its candidate in order. The width is that of the instruction set; a search tries candidates in multiples of
// kMaxLanes, and so every instruction set gives the same bytes.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "formats/group.h"
#include "formats/isa.h"

// A device has no vectors: its threads take a block each, and a lane at a time. (nvcc sees this file from kernels that
// only decode, too.)
#if defined(__CUDACC__) || defined(STEELYARD_SINGLE_LANES)
#define STEELYARD_LANES 1
#elif defined(__AVX512F__)
#define STEELYARD_LANES 16
#elif defined(__AVX2__)
#define STEELYARD_LANES 8
#else
#define STEELYARD_LANES 4
#endif
#if STEELYARD_LANES > 1 && defined(__SSE2__)
#include <immintrin.h>
#endif

namespace steelyard::inline STEELYARD_ISA {

inline constexpr int kLanes = STEELYARD_LANES;
inline constexpr int kMaxLanes = 16;

/// Compiler vectors (GCC and Clang): arithmetic, comparison and ?: work lane by lane. A comparison gives LaneMask,
/// whose lowest bit is set in the lanes where it holds.
#if STEELYARD_LANES == 1
using Lanes = float;
using LaneMask = int32_t;
using LaneCodes = uint32_t;
#else
using Lanes = float [[gnu::vector_size(4 * kLanes)]];
using LaneMask = int32_t [[gnu::vector_size(4 * kLanes)]];
using LaneCodes = uint32_t [[gnu::vector_size(4 * kLanes)]];
#endif

STEELYARD_HD inline Lanes broadcast(float value) { return value - Lanes{}; }

STEELYARD_HD inline Lanes load(const float* values) {
  Lanes lanes;
  std::memcpy(&lanes, values, sizeof(lanes));
  return lanes;
}

/// Bytes as floats. (GCC 12 converts a vector of bytes one by one.)
STEELYARD_HD inline Lanes load(const int8_t* values) {
#if STEELYARD_LANES == 16
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(values));
  return reinterpret_cast<Lanes>(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes)));
#elif STEELYARD_LANES == 8
  const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(values));
  return reinterpret_cast<Lanes>(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)));
#elif STEELYARD_LANES == 1
  return static_cast<float>(*values);
#else
  LaneMask integers;
  for (int l = 0; l < kLanes; ++l) integers[l] = values[l];
  return __builtin_convertvector(integers, Lanes);
#endif
}

STEELYARD_HD inline void store(const Lanes& lanes, float* values) { std::memcpy(values, &lanes, sizeof(lanes)); }

STEELYARD_HD inline Lanes max(const Lanes& a, const Lanes& b) { return a > b ? a : b; }
STEELYARD_HD inline Lanes min(const Lanes& a, const Lanes& b) { return a < b ? a : b; }

STEELYARD_HD inline Lanes square_root(const Lanes& values) {
#if STEELYARD_LANES == 16
  return _mm512_sqrt_ps(values);
#elif STEELYARD_LANES == 8
  return _mm256_sqrt_ps(values);
#elif STEELYARD_LANES == 1
  return sqrtf(values);
#elif defined(__SSE2__)
  return _mm_sqrt_ps(values);
#else
  Lanes roots;
  for (int l = 0; l < kLanes; ++l) roots[l] = __builtin_sqrtf(values[l]);
  return roots;
#endif
}

/// Bit l of the result: whether the comparison holds in lane l.
STEELYARD_HD inline uint32_t lane_bits(const LaneMask& mask) {
#if STEELYARD_LANES == 16
  return _mm512_movepi32_mask(reinterpret_cast<__m512i>(mask));
#elif STEELYARD_LANES == 8
  return static_cast<uint32_t>(_mm256_movemask_ps(reinterpret_cast<__m256>(mask)));
#elif STEELYARD_LANES == 1
  return mask & 1;
#elif defined(__SSE2__)
  return static_cast<uint32_t>(_mm_movemask_ps(reinterpret_cast<__m128>(mask)));
#else
  uint32_t bits = 0;
  for (int l = 0; l < kLanes; ++l) bits |= static_cast<uint32_t>(mask[l] & 1) << l;
  return bits;
#endif
}

/// The first lane whose bit is set; one is. (nvcc takes std::countr_zero and makes nonsense of it.)
STEELYARD_HD inline int first_lane(uint32_t bits) {
#if STEELYARD_LANES == 1
  return static_cast<int>(bits) - 1;
#else
  return std::countr_zero(bits);
#endif
}

/// Whole numbers of at least 0 as integers.
STEELYARD_HD inline LaneCodes to_codes(const Lanes& values) {
#if STEELYARD_LANES == 1
  return static_cast<uint32_t>(values);
#else
  return __builtin_convertvector(values, LaneCodes);
#endif
}

/// All lanes folded into one by halves: lane l with l + kLanes / 2, and so on.
template <class Fold>
STEELYARD_HD float fold_lanes(Lanes lanes, [[maybe_unused]] const Fold& fold) {
#if STEELYARD_LANES == 1
  return lanes;
#else
  static constexpr int32_t kPartners[4][kMaxLanes] = {
      {1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14},
      {2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13},
      {4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11},
      {8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7},
  };
  for (int level = std::countr_zero(static_cast<uint32_t>(kLanes)) - 1; level >= 0; --level) {
    LaneMask partner;
    std::memcpy(&partner, kPartners[level], sizeof(partner));
    lanes = fold(lanes, __builtin_shuffle(lanes, partner));
  }
  return lanes[0];
#endif
}

STEELYARD_HD inline float least(const Lanes& lanes) {
  return fold_lanes(lanes, [](const Lanes& a, const Lanes& b) { return min(a, b); });
}
STEELYARD_HD inline float largest(const Lanes& lanes) {
  return fold_lanes(lanes, [](const Lanes& a, const Lanes& b) { return max(a, b); });
}

}  // namespace steelyard::inline STEELYARD_ISA
