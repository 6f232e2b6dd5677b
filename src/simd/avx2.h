// The vocabulary of simd.h in AVX2, with FMA and F16C.
#pragma once

#include <immintrin.h>

namespace steelyard::simd::inline STEELYARD_TARGET {

inline constexpr int kLanes = 8;

using Floats [[gnu::vector_size(32)]] = float;
using Ints [[gnu::vector_size(32)]] = int32_t;
using Words [[gnu::vector_size(32)]] = uint32_t;

inline Floats load(const int8_t* p) {
  const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  return reinterpret_cast<Floats>(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)));
}
inline Floats load_halves(const void* p) { return _mm256_cvtph_ps(_mm_loadu_si128(static_cast<const __m128i*>(p))); }
inline Floats load_bfloats(const void* p) {
  const __m256i words = _mm256_cvtepu16_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)));
  return reinterpret_cast<Floats>(_mm256_slli_epi32(words, 16));
}
inline Floats fma(const Floats& a, const Floats& b, const Floats& c) { return _mm256_fmadd_ps(a, b, c); }
inline Floats square_root(const Floats& v) { return _mm256_sqrt_ps(v); }
inline Floats nearest_integer(const Floats& v) {
  return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
inline Floats clamp(const Floats& v, float low, float high) {
  return _mm256_max_ps(_mm256_min_ps(v, _mm256_set1_ps(high)), _mm256_set1_ps(low));
}
inline uint32_t lane_bits(const Ints& mask) {
  return static_cast<uint32_t>(_mm256_movemask_ps(reinterpret_cast<__m256>(mask)));
}

template <int n>
inline Floats look_up(const float* table, const Ints& index) {
  const auto lanes = reinterpret_cast<__m256i>(index);
  if constexpr (n == 4) return _mm256_permutevar_ps(_mm256_broadcast_ps(reinterpret_cast<const __m128*>(table)), lanes);
  const __m256 low = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table), lanes);
  if constexpr (n == 8) return low;
  const __m256 high = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table + 8), lanes);
  return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(lanes, 28)));  // by bit 3 of the index
}

inline Ints dot_pairs(const Ints& sums, const Ints& a, const Ints& b) {
  return sums + reinterpret_cast<Ints>(_mm256_madd_epi16(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
}
inline void store_pairs(const Ints& a, const Ints& b, int16_t* p) {
  const __m256i packed = _mm256_packs_epi32(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_permute4x64_epi64(packed, 0xD8));
}

// ---- a register of 32 bytes

/// 32 bits as 32 bytes: all ones where the bit is set.
inline Ints spread_part(uint64_t bits) {
  const __m256i byte_of = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
  const __m256i bit_of = _mm256_set1_epi64x(static_cast<int64_t>(0x8040201008040201));
  const __m256i bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(static_cast<int>(bits)), byte_of);
  return reinterpret_cast<Ints>(_mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit_of), bit_of));
}
inline Ints negate_part(const Ints& v, uint64_t bits) {
  const auto mask = reinterpret_cast<__m256i>(spread_part(bits));
  return reinterpret_cast<Ints>(_mm256_sub_epi8(_mm256_xor_si256(reinterpret_cast<__m256i>(v), mask), mask));
}
inline Ints look_up_part(const int8_t* table, const Ints& v) {
  const __m256i entries = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table)));
  return reinterpret_cast<Ints>(_mm256_shuffle_epi8(entries, reinterpret_cast<__m256i>(v)));
}

inline constexpr int kByteBias = 0;
inline constexpr bool kAddsPairs = true;

/// Sums of pairs, in 16 bits.
template <Factor kFactor>
inline __m256i pair_products(const Ints& q, const Ints& x) {
  auto codes = reinterpret_cast<__m256i>(q), inputs = reinterpret_cast<__m256i>(x);
  if constexpr (kFactor == Factor::kByte) {  // one factor has to be without sign: the other takes it
    inputs = _mm256_sign_epi8(inputs, codes);
    codes = _mm256_abs_epi8(codes);
  }
  return _mm256_maddubs_epi16(codes, inputs);  // 2 * 128 * 127 < 2^15: pairs do not saturate
}
inline __m256i add_products(__m256i a, __m256i b) { return _mm256_add_epi16(a, b); }
inline Ints add_pairs(const Ints& sums, __m256i pairs) {
  return sums + reinterpret_cast<Ints>(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
template <Factor kFactor>
inline Ints dot_part(const Ints& sums, const Ints& q, const Ints& x) {
  return add_pairs(sums, pair_products<kFactor>(q, x));
}

}  // namespace steelyard::simd::inline STEELYARD_TARGET

#include "simd/vectors.h"

namespace steelyard::simd::inline STEELYARD_TARGET {

inline __m128i load_quarter(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
inline Ints join(__m128i low, __m128i high) {
  return reinterpret_cast<Ints>(_mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1));
}
inline Ints load_half(const void* p) {
  return reinterpret_cast<Ints>(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
}
inline Bytes join_halves(const void* a, const void* b) { return {{load_half(a), load_half(b)}}; }
inline Bytes join_quarters(const void* a, const void* b, const void* c, const void* d) {
  return {{join(load_quarter(a), load_quarter(b)), join(load_quarter(c), load_quarter(d))}};
}
template <int kStride>
inline Bytes twice_apart(const void* p) {
  const char* second = static_cast<const char*>(p) + kStride;
  return join_quarters(p, p, second, second);
}
inline Bytes eights_twice(const void* p) {
  const auto eights = reinterpret_cast<__m256i>(load_half(p));
  return {{reinterpret_cast<Ints>(_mm256_permute4x64_epi64(eights, 0x50)),
           reinterpret_cast<Ints>(_mm256_permute4x64_epi64(eights, 0xFA))}};
}
inline Bytes fours(const void* p) {
  const __m256i all = _mm256_broadcastsi128_si256(load_quarter(p));
  const __m256i first =
      _mm256_setr_epi32(0, 0x01010101, 0x02020202, 0x03030303, 0x04040404, 0x05050505, 0x06060606, 0x07070707);
  const __m256i second = _mm256_add_epi8(first, _mm256_set1_epi8(8));
  return {{reinterpret_cast<Ints>(_mm256_shuffle_epi8(all, first)),
           reinterpret_cast<Ints>(_mm256_shuffle_epi8(all, second))}};
}

template <class Word, class Index>
inline Bytes codewords(const Word* grid, const Index& index) {
  const auto eight = [&](int i) { return eight_bytes(grid, index, i); };
  return {{reinterpret_cast<Ints>(_mm256_setr_epi64x(eight(0), eight(1), eight(2), eight(3))),
           reinterpret_cast<Ints>(_mm256_setr_epi64x(eight(4), eight(5), eight(6), eight(7)))}};
}

/// Of numbers that fit.
inline void store_low_bytes(const Ints16& v, void* p) {
  const __m256i words = _mm256_packs_epi32(reinterpret_cast<__m256i>(v.part[0]), reinterpret_cast<__m256i>(v.part[1]));
  const __m256i ordered = _mm256_permute4x64_epi64(words, 0xD8);
  const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(ordered), _mm256_extracti128_si256(ordered, 1));
  _mm_storeu_si128(static_cast<__m128i*>(p), bytes);
}
inline Floats16 signed_bytes(__m128i bytes) {
  return {{_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)),
           _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_unpackhi_epi64(bytes, bytes)))}};
}
template <int k>
inline Floats16 to_floats(const Bytes& v) {
  return signed_bytes(_mm256_extracti128_si256(reinterpret_cast<__m256i>(v.part[k / 2]), k % 2));
}
inline __m128i in_register(const SubScales& sub_scales) { return reinterpret_cast<__m128i>(sub_scales.bytes); }
inline Floats16 to_floats(const SubScales& sub_scales) { return signed_bytes(in_register(sub_scales)); }
inline Floats16 broadcast_half(Half half) {
  const __m256 all = _mm256_cvtph_ps(_mm_set1_epi16(static_cast<int16_t>(half.bits)));
  return {{all, all}};
}
template <int n, int... lane>
inline Floats16 repeat_floats(__m256 floats, std::integer_sequence<int, lane...>) {
  return {{__builtin_shufflevector(floats, floats, (lane * n / 16)...),
           __builtin_shufflevector(floats, floats, ((lane + 8) * n / 16)...)}};
}
template <int n, int kStride>
inline Floats16 halves_apart(const void* p) {
  const __m128i halves = in_register(collect_halves<n, kStride>(p));
  return repeat_floats<n>(_mm256_cvtph_ps(halves), std::make_integer_sequence<int, 8>());
}

}  // namespace steelyard::simd::inline STEELYARD_TARGET
