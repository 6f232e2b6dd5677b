// Vectors of doubles, as wide as Floats and at least 16 bytes: what factors and solutions in F64 are made of. A leaf
// header beside the vocabulary of simd.h, of which formats see nothing. Included once per target, by
// quantize/products.simd.cc.
#pragma once

#include <cstdint>

#include "simd/simd.h"

namespace steelyard::simd::inline STEELYARD_TARGET {

using Doubles[[gnu::vector_size(sizeof(Floats) < 16 ? 16 : sizeof(Floats))]] = double;
inline constexpr int64_t kDoubles = sizeof(Doubles) / sizeof(double);

inline Doubles load_doubles(const double* p) {
  Doubles v;
  __builtin_memcpy(&v, p, sizeof(v));
  return v;
}
inline void store(Doubles v, double* p) { __builtin_memcpy(p, &v, sizeof(v)); }

}  // namespace steelyard::simd::inline STEELYARD_TARGET
