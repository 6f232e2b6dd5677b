// The vocabulary of simd.h in AVX-512 (F, BW, VL, DQ), with VNNI where the compiler was told of it.
#pragma once

#include <immintrin.h>

namespace steelyard::simd::inline STEELYARD_TARGET {

inline constexpr int kLanes = 16;

using Floats [[gnu::vector_size(64)]] = float;
using Ints [[gnu::vector_size(64)]] = int32_t;
using Words [[gnu::vector_size(64)]] = uint32_t;

/// GCC 12 takes the operations without a mask for uses of something uninitialized (its bug 105593).
inline constexpr uint16_t kAllLanes = 0xFFFF;

inline Floats load(const int8_t* p) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return reinterpret_cast<Floats>(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes)));
}
inline Floats load_halves(const void* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(p))); }
inline Floats load_bfloats(const void* p) {
  const __m512i words = _mm512_cvtepu16_epi32(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
  return reinterpret_cast<Floats>(_mm512_slli_epi32(words, 16));
}
inline Floats fma(const Floats& a, const Floats& b, const Floats& c) { return _mm512_fmadd_ps(a, b, c); }
inline Floats square_root(const Floats& v) { return _mm512_sqrt_ps(v); }
inline Floats nearest_integer(const Floats& v) {
  return _mm512_maskz_roundscale_ps(kAllLanes, v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
inline Floats clamp(const Floats& v, float low, float high) {
  const __m512 below = _mm512_maskz_min_ps(kAllLanes, v, _mm512_set1_ps(high));
  return _mm512_maskz_max_ps(kAllLanes, below, _mm512_set1_ps(low));
}
inline uint32_t lane_bits(const Ints& mask) { return _mm512_movepi32_mask(reinterpret_cast<__m512i>(mask)); }

template <int n>
inline Floats look_up(const float* table, const Ints& index) {
  __m512 entries;
  if constexpr (n == 16)
    entries = _mm512_loadu_ps(table);
  else if constexpr (n == 8)
    entries = _mm512_broadcast_f32x8(_mm256_loadu_ps(table));
  else
    entries = _mm512_broadcast_f32x4(_mm_loadu_ps(table));
  return _mm512_maskz_permutexvar_ps(kAllLanes, reinterpret_cast<__m512i>(index), entries);
}

inline Ints dot_pairs(const Ints& sums, const Ints& a, const Ints& b) {
#if defined(__AVX512VNNI__)
  return reinterpret_cast<Ints>(
      _mm512_dpwssd_epi32(reinterpret_cast<__m512i>(sums), reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
#else
  return sums + reinterpret_cast<Ints>(_mm512_madd_epi16(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
#endif
}
inline void store_pairs(const Ints& a, const Ints& b, int16_t* p) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(reinterpret_cast<__m512i>(a)));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 16), _mm512_cvtepi32_epi16(reinterpret_cast<__m512i>(b)));
}

// ---- a register of 64 bytes

inline Ints spread_part(uint64_t bits) { return reinterpret_cast<Ints>(_mm512_movm_epi8(bits)); }
inline Ints negate_part(const Ints& v, uint64_t bits) {
  const auto bytes = reinterpret_cast<__m512i>(v);
  return reinterpret_cast<Ints>(_mm512_mask_sub_epi8(bytes, bits, _mm512_setzero_si512(), bytes));
}
inline Ints look_up_part(const int8_t* table, const Ints& v) {
  const __m512i entries = _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table)));
  return reinterpret_cast<Ints>(_mm512_shuffle_epi8(entries, reinterpret_cast<__m512i>(v)));
}

#if defined(__AVX512VNNI__)
inline constexpr int kByteBias = 128;
inline constexpr bool kAddsPairs = false;
#else
inline constexpr int kByteBias = 0;
inline constexpr bool kAddsPairs = true;
#endif

/// Sums of pairs, in 16 bits.
template <Factor kFactor>
inline __m512i pair_products(const Ints& q, const Ints& x) {
  auto codes = reinterpret_cast<__m512i>(q), inputs = reinterpret_cast<__m512i>(x);
  if constexpr (kFactor == Factor::kByte) {  // one factor has to be without sign: the other takes it
    inputs = _mm512_mask_sub_epi8(inputs, _mm512_movepi8_mask(codes), _mm512_setzero_si512(), inputs);
    codes = _mm512_abs_epi8(codes);
  }
  return _mm512_maddubs_epi16(codes, inputs);  // 2 * 128 * 127 < 2^15: pairs do not saturate
}
inline __m512i add_products(__m512i a, __m512i b) { return _mm512_add_epi16(a, b); }
inline Ints add_pairs(const Ints& sums, __m512i pairs) {
  return sums + reinterpret_cast<Ints>(_mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
}
template <Factor kFactor>
inline Ints dot_part(const Ints& sums, const Ints& q, const Ints& x) {
#if defined(__AVX512VNNI__)
  return reinterpret_cast<Ints>(
      _mm512_dpbusd_epi32(reinterpret_cast<__m512i>(sums), reinterpret_cast<__m512i>(q), reinterpret_cast<__m512i>(x)));
#else
  return add_pairs(sums, pair_products<kFactor>(q, x));
#endif
}

}  // namespace steelyard::simd::inline STEELYARD_TARGET

#include "simd/vectors.h"

namespace steelyard::simd::inline STEELYARD_TARGET {

inline __m256i load_half(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline __m256i join_eighths(const void* a, const void* b) {
  return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128(static_cast<const __m128i*>(a))),
                                 _mm_loadu_si128(static_cast<const __m128i*>(b)), 1);
}
inline Bytes join(__m256i low, __m256i high) {
  return {{reinterpret_cast<Ints>(_mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1))}};
}
inline Bytes join_halves(const void* a, const void* b) { return join(load_half(a), load_half(b)); }
inline Bytes join_quarters(const void* a, const void* b, const void* c, const void* d) {
  return join(join_eighths(a, b), join_eighths(c, d));
}
template <int kStride>
struct TwiceWords {
  alignas(64) uint16_t word[32] = {};
  constexpr TwiceWords() {
    for (int w = 0; w < 32; ++w) word[w] = static_cast<uint16_t>(w / 16 * (kStride / 2) + w % 8);
  }
};
template <int kStride>
inline Bytes twice_apart(const void* p) {
  if constexpr (kStride % 2 == 0 && kStride + 16 <= 64) {
    static constexpr TwiceWords<kStride> kWords;
    constexpr auto kAll = static_cast<__mmask32>((uint64_t{1} << ((kStride + 16) / 2)) - 1);
    const __m512i both = _mm512_maskz_loadu_epi16(kAll, p);
    return {{reinterpret_cast<Ints>(_mm512_permutexvar_epi16(_mm512_load_si512(kWords.word), both))}};
  } else {
    const char* second = static_cast<const char*>(p) + kStride;
    return join_quarters(p, p, second, second);
  }
}
inline Bytes eights_twice(const void* p) {
  const __m512i order = _mm512_setr_epi64(0, 0, 1, 1, 2, 2, 3, 3);
  const __m512i eights = _mm512_castsi256_si512(load_half(p));
  return {{reinterpret_cast<Ints>(_mm512_maskz_permutexvar_epi64(0xFF, order, eights))}};
}
inline Bytes fours(const void* p) {
  const __m512i order =
      _mm512_setr_epi32(0, 0x01010101, 0x02020202, 0x03030303, 0x04040404, 0x05050505, 0x06060606, 0x07070707,
                        0x08080808, 0x09090909, 0x0A0A0A0A, 0x0B0B0B0B, 0x0C0C0C0C, 0x0D0D0D0D, 0x0E0E0E0E, 0x0F0F0F0F);
  const __m512i all = _mm512_broadcast_i32x4(_mm_loadu_si128(static_cast<const __m128i*>(p)));
  return {{reinterpret_cast<Ints>(_mm512_shuffle_epi8(all, order))}};
}

template <class Word, class Index>
inline Bytes codewords(const Word* grid, const Index& index) {
  const auto eight = [&](int i) { return eight_bytes(grid, index, i); };
  return join(_mm256_setr_epi64x(eight(0), eight(1), eight(2), eight(3)),
              _mm256_setr_epi64x(eight(4), eight(5), eight(6), eight(7)));
}

inline void store_low_bytes(const Ints16& v, void* p) {
  _mm_storeu_si128(static_cast<__m128i*>(p), _mm512_cvtepi32_epi8(reinterpret_cast<__m512i>(v.part[0])));
}
template <int k>
inline Floats16 to_floats(const Bytes& v) {
  const __m128i quarter = _mm512_extracti32x4_epi32(reinterpret_cast<__m512i>(v.part[0]), k);
  return {{_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(quarter))}};
}
inline __m128i in_register(const SubScales& sub_scales) { return reinterpret_cast<__m128i>(sub_scales.bytes); }
inline Floats16 to_floats(const SubScales& sub_scales) {
  return {{_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(in_register(sub_scales)))}};
}
inline Floats16 broadcast_half(Half half) {
  return {{_mm512_cvtph_ps(_mm256_set1_epi16(static_cast<int16_t>(half.bits)))}};
}
template <int n, int... lane>
inline Floats16 repeat_floats(__m256 floats, std::integer_sequence<int, lane...>) {
  return {{__builtin_shufflevector(floats, floats, (lane * n / 16)...)}};
}
/// Where the words are in the 64 bytes at the first half and in those at half kFirst.
template <int n, int kStride, int kFirst>
struct HalfWords {
  alignas(64) uint16_t word[32] = {};
  constexpr HalfWords() {
    for (int lane = 0; lane < 16; ++lane) {
      const int half = lane * n / 16;
      word[lane] = static_cast<uint16_t>(half < kFirst ? half * kStride / 2 : 32 + (half - kFirst) * kStride / 2);
    }
  }
};
template <int n, int kStride>
inline Floats16 halves_apart(const void* p) {
  const auto* bytes = static_cast<const char*>(p);
  // Two pieces of memory hold them all, and end before the n-th piece of kStride bytes does.
  constexpr int kFirst = 62 / kStride + 1, kSecond = kFirst * kStride;
  if constexpr (kStride % 2 == 0 && (n - kFirst) * kStride - kStride + 2 <= 64 && kSecond + 64 <= n * kStride) {
    static constexpr HalfWords<n, kStride, kFirst> kWords;
    const __m512i halves = _mm512_permutex2var_epi16(_mm512_loadu_si512(bytes), _mm512_load_si512(kWords.word),
                                                     _mm512_loadu_si512(bytes + kSecond));
    return {{_mm512_cvtph_ps(_mm512_castsi512_si256(halves))}};
  } else {
    const __m128i halves = in_register(collect_halves<n, kStride>(p));
    return repeat_floats<n>(_mm256_cvtph_ps(halves), std::make_integer_sequence<int, 16>());
  }
}

}  // namespace steelyard::simd::inline STEELYARD_TARGET
