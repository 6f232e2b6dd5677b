// The vocabulary of simd.h one value at a time: for devices, whose threads take a row each in products, and for
// reading. plain_bytes.h has its second half.
// (nvcc takes std::countr_zero and the like and makes nonsense of them, so everything is a plain loop.)
#pragma once

#include <cmath>

#include "simd/plain_bytes.h"

namespace steelyard::simd::inline STEELYARD_TARGET {

inline constexpr int kLanes = 1;

using Floats = float;
using Ints = int32_t;
using Words = uint32_t;

STEELYARD_HD inline Floats broadcast(float value) { return value; }
STEELYARD_HD inline Floats load(const float* p) { return *p; }
STEELYARD_HD inline Floats load(const int8_t* p) { return *p; }
STEELYARD_HD inline Floats load_halves(const void* p) {
  Half half;
  std::memcpy(&half, p, sizeof(half));
  return to_float(half);
}
STEELYARD_HD inline Floats load_bfloats(const void* p) {
  BFloat16 value;
  std::memcpy(&value, p, sizeof(value));
  return to_float(value);
}
STEELYARD_HD inline void store(Floats v, float* p) { *p = v; }
STEELYARD_HD inline void store(Words v, uint32_t* p) { *p = v; }
STEELYARD_HD inline Floats fma(Floats a, Floats b, Floats c) { return a * b + c; }
STEELYARD_HD inline Floats square_root(Floats v) { return sqrtf(v); }
/// |v| < 2^22; a half goes to the even one. Adding a large constant leaves no room for a fraction.
STEELYARD_HD inline Floats nearest_integer(Floats v) { return (v + 0x1.8p23f) - 0x1.8p23f; }
STEELYARD_HD inline Floats clamp(Floats v, float low, float high) {
  const float below = v < high ? v : high;
  return below > low ? below : low;
}
STEELYARD_HD inline Words to_codes(Floats v) { return static_cast<uint32_t>(v); }
STEELYARD_HD inline Floats to_floats(Ints v) { return static_cast<float>(v); }
STEELYARD_HD inline uint32_t lane_bits(Ints mask) { return mask & 1; }
STEELYARD_HD inline int first_lane(uint32_t bits) { return static_cast<int>(bits) - 1; }
STEELYARD_HD inline int least_index(Ints, Ints first) { return first; }

STEELYARD_HD inline Floats absolute_maximum(Floats v, Floats most) {
  const float magnitude = v < 0 ? -v : v;
  return magnitude <= most ? most : magnitude;
}
STEELYARD_HD inline float largest_magnitude(Floats v) { return v; }

template <class Fold>
STEELYARD_HD float fold_lanes(Floats v, const Fold&) {
  return v;
}

template <int n>
STEELYARD_HD Floats look_up(const float* table, Ints index) {
  return table[index & (n - 1)];
}

STEELYARD_HD inline Ints load_pairs(const int16_t* p) {
  Ints v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}
STEELYARD_HD inline Ints broadcast_pair(const int16_t* p) { return load_pairs(p); }
STEELYARD_HD inline Ints dot_pairs(Ints sums, Ints a, Ints b) {
  return sums + (a >> 16) * (b >> 16) + static_cast<int16_t>(a) * static_cast<int16_t>(b);
}
STEELYARD_HD inline void transpose_fours(const int32_t* const (&rows)[4], int32_t* out, int64_t) {
  for (int r = 0; r < 4; ++r) out[r] = *rows[r];
}
STEELYARD_HD inline void store_pairs(Ints a, Ints b, int16_t* p) {
  p[0] = static_cast<int16_t>(a);
  p[1] = static_cast<int16_t>(b);
}

}  // namespace steelyard::simd::inline STEELYARD_TARGET
