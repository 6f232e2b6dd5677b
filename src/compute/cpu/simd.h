// Vectors of one instruction set, for the inner loops of matrix products: floats, and the product of pairs of 16-bit
// integers that every set of x86 has. Included only by *.isa.cc; STEELYARD_ISA names the namespace.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "formats/isa.h"

namespace steelyard::cpu::STEELYARD_ISA {

#if defined(__AVX512F__)
inline constexpr int kWidth = 16;
#elif defined(__AVX2__)
inline constexpr int kWidth = 8;
#else
inline constexpr int kWidth = 4;
#endif

using Floats = float [[gnu::vector_size(4 * kWidth)]];
using Ints = int32_t [[gnu::vector_size(4 * kWidth)]];

inline Floats load(const float* p) {
  Floats v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}
/// Bytes as floats. (GCC 12 converts a vector of bytes one by one.)
inline Floats load(const int8_t* p) {
#if defined(__AVX512F__)
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
#elif defined(__AVX2__)
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
#else
  Floats v;
  for (int i = 0; i < kWidth; ++i) v[i] = p[i];
  return v;
#endif
}
inline void store(float* p, Floats v) { std::memcpy(p, &v, sizeof(v)); }
inline Floats broadcast(float value) { return value - Floats{}; }

/// a * b + c, in one rounding where the set has it.
inline Floats fma(Floats a, Floats b, Floats c) {
#if defined(__AVX512F__)
  return _mm512_fmadd_ps(a, b, c);
#elif defined(__AVX2__)
  return _mm256_fmadd_ps(a, b, c);
#else
  return a * b + c;
#endif
}

/// kWidth pairs of 16-bit integers.
inline Ints load_pairs(const int16_t* p) {
  Ints v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}
/// One pair in all lanes.
inline Ints broadcast_pair(const int16_t* p) {
  int32_t pair;
  std::memcpy(&pair, p, sizeof(pair));
  return pair - Ints{};
}

/// Lane by lane a.first * b.first + a.second * b.second.
inline Ints multiply_pairs(Ints a, Ints b) {
#if defined(__AVX512F__)
  return reinterpret_cast<Ints>(_mm512_madd_epi16(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
#elif defined(__AVX2__)
  return reinterpret_cast<Ints>(_mm256_madd_epi16(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
#elif defined(__SSE2__)
  return reinterpret_cast<Ints>(_mm_madd_epi16(reinterpret_cast<__m128i>(a), reinterpret_cast<__m128i>(b)));
#else
  return (a >> 16) * (b >> 16) + (a << 16 >> 16) * (b << 16 >> 16);
#endif
}

inline Floats to_floats(Ints v) { return __builtin_convertvector(v, Floats); }

/// The sum of all lanes, by halves.
inline float sum(Floats v) {
  float lanes[kWidth];
  store(lanes, v);
  for (int width = kWidth / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  }
  return lanes[0];
}

inline float largest(Floats v) {
  float lanes[kWidth];
  store(lanes, v);
  float max = lanes[0];
  for (int i = 1; i < kWidth; ++i) max = lanes[i] > max ? lanes[i] : max;
  return max;
}

/// The nearest integers, where |x| < 2^22: adding 1.5 * 2^23 leaves them in the low bits.
inline Ints rounded(Floats x) {
  const Floats shifted = x + 12582912.0f;
  return reinterpret_cast<Ints>(shifted) - 0x4B400000;
}

/// value = scale * code and code = inverse * value.
struct CodeScale {
  float scale, inverse;
};

/// Of n values whose codes shall go from -levels to levels. Not finite: the scale is NaN, and so is every product with
/// the values.
template <int n>
inline CodeScale code_scale(const float* x, float levels) {
  Floats largest_of = {}, nan = {};
  for (int i = 0; i < n; i += kWidth) {
    const Floats v = load(x + i), magnitude = v < 0.0f ? -v : v;
    largest_of = magnitude > largest_of ? magnitude : largest_of;
    nan += v * 0.0f;  // NaN where v is not finite
  }
  const float max = largest(largest_of);
  // Below 1e-30 the quotient could overflow.
  return {max / levels + sum(nan), max > 1e-30f ? levels / max : 0.0f};
}

}  // namespace steelyard::cpu::STEELYARD_ISA
