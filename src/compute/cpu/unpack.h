// Whole blocks as groups: 16 int8 codes, a scale and a minimum each (formats/group.h), side by side in memory. Included
// only by rows.isa.cc.
//
// Any type goes through its own unpacker, group by group with the number of the group known to the compiler, which then
// finds wide instructions for most types. Those that it does not are written out below for AVX2.
#pragma once

#include <utility>

#include "compute/cpu/simd.h"
#include "formats/iq1_m.h"
#include "formats/iq1_s.h"
#include "formats/iq2_s.h"
#include "formats/iq2_xs.h"
#include "formats/iq2_xxs.h"
#include "formats/iq3_s.h"
#include "formats/iq3_xxs.h"
#include "formats/iq4_nl.h"
#include "formats/iq4_xs.h"
#include "formats/mxfp4.h"
#include "formats/nvfp4.h"
#include "formats/q1_0.h"
#include "formats/q2_0.h"
#include "formats/q2_k.h"
#include "formats/q3_k.h"
#include "formats/q4_0.h"
#include "formats/q4_1.h"
#include "formats/q4_k.h"
#include "formats/q5_0.h"
#include "formats/q5_1.h"
#include "formats/q5_k.h"
#include "formats/q6_k.h"
#include "formats/q8_0.h"
#include "formats/tq1_0.h"
#include "formats/tq2_0.h"

namespace steelyard::cpu::STEELYARD_ISA {

/// Values that share a scale and a minimum, whether there are minima and codes below zero: what the group view allows
/// unless a type is known to be simpler.
template <class F>
inline constexpr int kScaleLen = kGroupLen;
template <class F>
inline constexpr bool kHasMin = true;
template <class F>
inline constexpr bool kSigned = true;

/// Whether the scales of a block of 256 are known as integer multiples of one step.
template <class F>
inline constexpr bool kHasMultiples = false;

template <class F>
struct Groups {
  static constexpr int kCount = F::kBlockLen / kScaleLen<F>;
  alignas(64) int8_t q[F::kBlockLen];
  alignas(64) float scale[kCount];  ///< where there are multiples: after add_scales
  alignas(64) float min[kHasMin<F> ? kCount : 1];
  float step;
  /// Of the 16 halves of eight times 32 values: all first halves, then all second ones.
  alignas(32) int16_t multiple[kHasMultiples<F> ? 16 : 1];
};

template <class F, size_t... kGroup>
[[gnu::always_inline]] inline void unpack_groups(const typename F::Block& block, Groups<F>& out,
                                                 std::index_sequence<kGroup...>) {
  const auto one = [&](int g) __attribute__((always_inline)) {
    Group group;
    F::unpack(block, g, group);
    __builtin_memcpy(out.q + g * kGroupLen, group.q, kGroupLen);
    out.scale[g] = group.scale;
    out.min[g] = group.min;
  };
  (one(kGroup), ...);
}

template <class F>
[[gnu::always_inline]] inline void unpack(const typename F::Block& block, Groups<F>& out) {
  static_assert(kScaleLen<F> == kGroupLen && kHasMin<F>);
  unpack_groups<F>(block, out, std::make_index_sequence<Groups<F>::kCount>());
}

/// Fills the scales where unpack left multiples. The products are exact: both factors have few bits.
template <class F>
[[gnu::always_inline]] inline void add_scales(Groups<F>& out) {
  if constexpr (kHasMultiples<F>) {
    for (int g = 0; g < Groups<F>::kCount; ++g) {
      const int at = kScaleLen<F> == kGroupLen ? g / 2 + 8 * (g % 2) : g;
      out.scale[g] = out.step * static_cast<float>(out.multiple[at]);
    }
  }
}

#if defined(__AVX2__)

inline __m256i load_bytes(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline void store_bytes(void* p, __m256i v) { _mm256_store_si256(static_cast<__m256i*>(p), v); }

inline float half(Half h) { return _cvtsh_ss(h.bits); }

template <>
inline constexpr int kScaleLen<Q4_0> = 32;
template <>
inline constexpr int kScaleLen<Q5_0> = 32;
template <>
inline constexpr int kScaleLen<Q8_0> = 32;
template <>
inline constexpr int kScaleLen<IQ4_NL> = 32;
template <>
inline constexpr int kScaleLen<Q4_K> = 32;
template <>
inline constexpr int kScaleLen<Q5_K> = 32;
template <>
inline constexpr int kScaleLen<IQ3_S> = 32;
template <>
inline constexpr bool kHasMultiples<Q4_K> = true;
template <>
inline constexpr bool kHasMultiples<Q5_K> = true;
template <>
inline constexpr bool kHasMultiples<Q6_K> = true;
template <>
inline constexpr bool kHasMultiples<IQ2_S> = true;
template <>
inline constexpr bool kHasMultiples<IQ3_S> = true;
template <>
inline constexpr bool kSigned<Q2_K> = false;
template <>
inline constexpr bool kSigned<Q4_K> = false;
template <>
inline constexpr bool kSigned<Q5_K> = false;
template <>
inline constexpr bool kHasMin<Q4_0> = false;
template <>
inline constexpr bool kHasMin<Q5_0> = false;
template <>
inline constexpr bool kHasMin<Q8_0> = false;
template <>
inline constexpr bool kHasMin<IQ4_NL> = false;
template <>
inline constexpr bool kHasMin<Q6_K> = false;
template <>
inline constexpr bool kHasMin<IQ2_S> = false;
template <>
inline constexpr bool kHasMin<IQ3_S> = false;

/// 32 bits as 32 bytes: all ones where the bit is set.
inline __m256i spread_bits(const void* bits) {
  uint32_t word;
  std::memcpy(&word, bits, sizeof(word));
  const __m256i byte_of = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
  const __m256i bit_of = _mm256_set1_epi64x(static_cast<int64_t>(0x8040201008040201));
  const __m256i bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(static_cast<int>(word)), byte_of);
  return _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit_of), bit_of);
}

/// Turns the signs of 32 bytes where bits are set.
inline __m256i with_signs(__m256i magnitudes, const void* bits) {
  const __m256i mask = spread_bits(bits);
  return _mm256_sub_epi8(_mm256_xor_si256(magnitudes, mask), mask);
}

/// The low nibbles of 16 bytes, then the high ones.
inline __m256i nibbles(const void* bytes) {
  const __m128i packed = _mm_loadu_si128(static_cast<const __m128i*>(bytes));
  return _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(packed, 4), packed), _mm256_set1_epi8(15));
}

inline __m256i look_up(const int8_t* values, __m256i indices) {
  const __m256i table = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(values)));
  return _mm256_shuffle_epi8(table, indices);
}

template <>
inline void unpack<Q8_0>(const Q8_0::Block& block, Groups<Q8_0>& out) {
  store_bytes(out.q, load_bytes(block.codes));
  out.scale[0] = half(block.d);
}

template <>
inline void unpack<Q4_0>(const Q4_0::Block& block, Groups<Q4_0>& out) {
  store_bytes(out.q, _mm256_sub_epi8(nibbles(block.codes), _mm256_set1_epi8(8)));
  out.scale[0] = half(block.d);
}

template <>
inline void unpack<Q5_0>(const Q5_0::Block& block, Groups<Q5_0>& out) {
  const __m256i missing = _mm256_andnot_si256(spread_bits(block.high), _mm256_set1_epi8(16));
  store_bytes(out.q, _mm256_sub_epi8(nibbles(block.low), missing));
  out.scale[0] = half(block.d);
}

template <>
inline void unpack<IQ4_NL>(const IQ4_NL::Block& block, Groups<IQ4_NL>& out) {
  store_bytes(out.q, look_up(iq4_values(), nibbles(block.codes)));
  out.scale[0] = half(block.d);
}

/// Eight multiples of 32 values each.
template <class F>
inline void store_multiples(__m128i eight, Groups<F>& out) {
  store_bytes(out.multiple, _mm256_broadcastsi128_si256(eight));
}
/// 16 multiples of 16 values each, as bytes.
template <class F>
inline void store_multiples_of_16(__m128i bytes, Groups<F>& out) {
  const __m128i by_half = _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
  store_bytes(out.multiple, _mm256_cvtepi8_epi16(_mm_shuffle_epi8(bytes, by_half)));
}

/// The nibbles of eight bytes n, low ones first, as 2 n + 1.
inline __m128i odd_of_nibbles(uint64_t bytes) {
  const __m128i packed = _mm_cvtsi64_si128(static_cast<int64_t>(bytes));
  const __m128i nibbles = _mm_and_si128(_mm_unpacklo_epi8(packed, _mm_srli_epi16(packed, 4)), _mm_set1_epi8(15));
  return _mm_add_epi8(_mm_add_epi8(nibbles, nibbles), _mm_set1_epi8(1));
}

/// Scales and minima of Q4_K and Q5_K, four bytes at a time (k_scales.h).
template <class F>
inline void k_scales(const KScales& scales, float d, float d_min, Groups<F>& out) {
  uint32_t words[3];
  std::memcpy(words, scales.bytes, sizeof(words));
  const uint64_t first = words[0] & 0x3F3F3F3F, first_min = words[1] & 0x3F3F3F3F;
  const uint64_t last = (words[2] & 0x0F0F0F0F) | (words[0] >> 2 & 0x30303030);
  const uint64_t last_min = (words[2] >> 4 & 0x0F0F0F0F) | (words[1] >> 2 & 0x30303030);
  store_multiples(_mm_cvtepu8_epi16(_mm_cvtsi64_si128(static_cast<int64_t>(first | last << 32))), out);
  out.step = d;
  const __m256i minima = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<int64_t>(first_min | last_min << 32)));
  _mm256_store_ps(out.min, _mm256_mul_ps(_mm256_set1_ps(d_min), _mm256_cvtepi32_ps(minima)));
}

template <>
inline void unpack<Q4_K>(const Q4_K::Block& block, Groups<Q4_K>& out) {
  const __m256i low = _mm256_set1_epi8(15);
  for (int i = 0; i < 4; ++i) {
    const __m256i codes = load_bytes(block.codes + 32 * i);
    store_bytes(out.q + 64 * i, _mm256_and_si256(codes, low));
    store_bytes(out.q + 64 * i + 32, _mm256_and_si256(_mm256_srli_epi16(codes, 4), low));
  }
  k_scales(block.scales, half(block.d), half(block.d_min), out);
}

template <>
inline void unpack<Q5_K>(const Q5_K::Block& block, Groups<Q5_K>& out) {
  const __m256i low = _mm256_set1_epi8(15), fifth = _mm256_set1_epi8(16);
  const __m256i high = load_bytes(block.high);
  for (int i = 0; i < 4; ++i) {
    const __m256i codes = load_bytes(block.low + 32 * i);
    // Bits 2i and 2i + 1 of `high` as bit 4; what the shift brings in from a neighbour is masked away.
    const __m256i first = _mm256_slli_epi16(_mm256_srli_epi16(high, 2 * i), 4);
    const __m256i second = _mm256_slli_epi16(_mm256_srli_epi16(high, 2 * i + 1), 4);
    store_bytes(out.q + 64 * i, _mm256_or_si256(_mm256_and_si256(codes, low), _mm256_and_si256(first, fifth)));
    store_bytes(out.q + 64 * i + 32,
                _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(codes, 4), low), _mm256_and_si256(second, fifth)));
  }
  k_scales(block.scales, half(block.d), half(block.dmin), out);
}

template <>
inline void unpack<Q6_K>(const Q6_K::Block& block, Groups<Q6_K>& out) {
  const __m256i low = _mm256_set1_epi8(15), two_bits = _mm256_set1_epi8(0x30), zero = _mm256_set1_epi8(32);
  for (int i = 0; i < 2; ++i) {
    const __m256i first = load_bytes(block.low + 64 * i), second = load_bytes(block.low + 64 * i + 32);
    const __m256i high = load_bytes(block.high + 32 * i);
    const auto join = [&](__m256i nibbles, __m256i bits) {  // bits: in places 4 and 5 of each byte
      return _mm256_sub_epi8(_mm256_or_si256(_mm256_and_si256(nibbles, low), _mm256_and_si256(bits, two_bits)), zero);
    };
    int8_t* q = out.q + 128 * i;
    store_bytes(q, join(first, _mm256_slli_epi16(high, 4)));
    store_bytes(q + 32, join(second, _mm256_slli_epi16(high, 2)));
    store_bytes(q + 64, join(_mm256_srli_epi16(first, 4), high));
    store_bytes(q + 96, join(_mm256_srli_epi16(second, 4), _mm256_srli_epi16(high, 2)));
  }
  store_multiples_of_16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(block.scales)), out);
  out.step = half(block.d);
}

template <>
inline void unpack<IQ2_S>(const IQ2_S::Block& block, Groups<IQ2_S>& out) {
  const uint64_t* grid = iq2_s_grid();
  for (int v = 0; v < 32; v += 4) {
    const unsigned high = block.high[v / 4];
    const __m256i magnitudes = _mm256_setr_epi64x(static_cast<int64_t>(grid[block.low[v] | (high << 8 & 0x300)]),
                                                  static_cast<int64_t>(grid[block.low[v + 1] | (high << 6 & 0x300)]),
                                                  static_cast<int64_t>(grid[block.low[v + 2] | (high << 4 & 0x300)]),
                                                  static_cast<int64_t>(grid[block.low[v + 3] | (high << 2 & 0x300)]));
    store_bytes(out.q + 8 * v, with_signs(magnitudes, block.signs + v));
  }
  uint64_t scales;
  std::memcpy(&scales, block.scales, sizeof(scales));
  store_multiples_of_16(odd_of_nibbles(scales), out);
  out.step = half(block.d) * 0.125f;
}

template <>
inline void unpack<IQ3_S>(const IQ3_S::Block& block, Groups<IQ3_S>& out) {
  const uint32_t* grid = iq3_s_grid();
  for (int b = 0; b < 8; ++b) {
    const unsigned high = block.high[b];
    const uint8_t* low = block.low + 8 * b;
    alignas(32) uint32_t magnitudes[8];
    for (int v = 0; v < 8; ++v) magnitudes[v] = grid[low[v] | (high << (8 - v) & 0x100)];
    store_bytes(out.q + 32 * b, with_signs(load_bytes(magnitudes), block.signs + 4 * b));
  }
  uint32_t scales;
  std::memcpy(&scales, block.scales, sizeof(scales));
  store_multiples(_mm_cvtepi8_epi16(odd_of_nibbles(scales)), out);
  out.step = half(block.d);
}

#endif

}  // namespace steelyard::cpu::STEELYARD_ISA
