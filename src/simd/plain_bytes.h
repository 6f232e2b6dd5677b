// 64 bytes, 16 numbers and sub-block scales (simd.h) as plain loops: the second half of the vocabulary in one_lane.h,
// and in half_warp.h, where each thread has all of them.
#pragma once

#include <cstdint>
#include <cstring>

#include "base/half.h"
#include "simd/factor.h"
#include "simd/host_device.h"
#include "simd/read.h"
#include "simd/this_target.h"

namespace steelyard::simd::inline STEELYARD_TARGET {

struct Bytes {
  uint8_t value[64];
};
struct Floats16 {
  float value[16];
};
struct Ints16 {
  int32_t value[16];
};
struct SubScales {
  uint8_t byte[16];
};

template <class F>
STEELYARD_HD Bytes each_byte(const F& byte) {
  Bytes v;
  for (int i = 0; i < 64; ++i) v.value[i] = static_cast<uint8_t>(byte(i));
  return v;
}
template <class F>
STEELYARD_HD Floats16 each_float(const F& number) {
  Floats16 v;
  for (int i = 0; i < 16; ++i) v.value[i] = number(i);
  return v;
}

/// f(part) for each register.
template <class T, class F>
STEELYARD_HD T each_part(const F& f) {
  T v;
  for (int i = 0; i < 16; ++i) v.value[i] = f(i);
  return v;
}

template <class F>
STEELYARD_HD SubScales each_sub_scale(const F& byte) {
  SubScales v;
  for (int i = 0; i < 16; ++i) v.byte[i] = static_cast<uint8_t>(byte(i));
  return v;
}

STEELYARD_HD inline Bytes load_bytes(const void* p) {
  return each_byte([&](int i) { return static_cast<const uint8_t*>(p)[i]; });
}
STEELYARD_HD inline void store(const Bytes& v, void* p) { std::memcpy(p, v.value, sizeof(v.value)); }
STEELYARD_HD inline Bytes join_halves(const void* a, const void* b) {
  const void* half[2] = {a, b};
  return each_byte([&](int i) { return static_cast<const uint8_t*>(half[i / 32])[i % 32]; });
}
STEELYARD_HD inline Bytes join_quarters(const void* a, const void* b, const void* c, const void* d) {
  const void* quarter[4] = {a, b, c, d};
  return each_byte([&](int i) { return static_cast<const uint8_t*>(quarter[i / 16])[i % 16]; });
}
template <int kStride>
STEELYARD_HD Bytes twice_apart(const void* p) {
  return each_byte([&](int i) { return static_cast<const uint8_t*>(p)[i / 32 * kStride + i % 16]; });
}
STEELYARD_HD inline Bytes eights_twice(const void* p) {
  return each_byte([&](int i) { return static_cast<const uint8_t*>(p)[i / 16 * 8 + i % 8]; });
}
STEELYARD_HD inline Bytes fours(const void* p) {
  return each_byte([&](int i) { return static_cast<const uint8_t*>(p)[i / 4]; });
}
STEELYARD_HD inline Bytes repeat(int byte) {
  return each_byte([&](int) { return byte; });
}
STEELYARD_HD inline Bytes repeat_word(const void* p) {
  return each_byte([&](int i) { return static_cast<const uint8_t*>(p)[i % 4]; });
}
STEELYARD_HD inline Bytes operator+(const Bytes& a, const Bytes& b) {
  return each_byte([&](int i) { return a.value[i] + b.value[i]; });
}
STEELYARD_HD inline Bytes operator-(const Bytes& a, const Bytes& b) {
  return each_byte([&](int i) { return a.value[i] - b.value[i]; });
}
STEELYARD_HD inline Bytes operator&(const Bytes& a, const Bytes& b) {
  return each_byte([&](int i) { return a.value[i] & b.value[i]; });
}
STEELYARD_HD inline Bytes operator|(const Bytes& a, const Bytes& b) {
  return each_byte([&](int i) { return a.value[i] | b.value[i]; });
}

/// A number for every eight bytes.
struct Counts {
  uint64_t each[8];
};
STEELYARD_HD inline Bytes shift_right(const Bytes& v, const Counts& counts) {
  uint64_t words[8];
  std::memcpy(words, v.value, sizeof(words));
  for (int i = 0; i < 8; ++i) words[i] >>= counts.each[i];
  return load_bytes(words);
}
STEELYARD_HD inline Bytes shift_left(const Bytes& v, const Counts& counts) {
  uint64_t words[8];
  std::memcpy(words, v.value, sizeof(words));
  for (int i = 0; i < 8; ++i) words[i] <<= counts.each[i];
  return load_bytes(words);
}

STEELYARD_HD inline Bytes multiply(const Bytes& a, const Bytes& b) {
  return each_byte([&](int i) { return a.value[i] * b.value[i]; });
}
STEELYARD_HD inline Bytes at_least(const Bytes& v, uint8_t bound) {
  return each_byte([&](int i) { return v.value[i] >= bound ? 0xFF : 0; });
}
STEELYARD_HD inline Bytes any_bits(uint64_t word, const Counts& tests) {
  return each_byte([&](int i) { return (tests.each[i / 8] & word) != 0 ? 0xFF : 0; });
}
STEELYARD_HD inline Bytes spread(uint64_t bits) {
  return each_byte([&](int i) { return (bits >> i & 1) != 0 ? 0xFF : 0; });
}
STEELYARD_HD inline Bytes negate_where(const Bytes& v, uint64_t bits) {
  return each_byte([&](int i) { return (bits >> i & 1) != 0 ? -v.value[i] : v.value[i]; });
}
STEELYARD_HD inline Bytes look_up(const int8_t* table, const Bytes& v) {
  return each_byte([&](int i) { return table[v.value[i] & 15]; });
}

template <class Word, class Index>
STEELYARD_HD Bytes codewords(const Word* grid, const Index& index) {
  Word words[64 / sizeof(Word)];
  for (int i = 0; i < static_cast<int>(64 / sizeof(Word)); ++i) words[i] = grid[index(i)];
  return load_bytes(words);
}

template <Factor kFactor>
inline constexpr int kBias = bias_of(kFactor, 0);
template <Factor kFactor>
STEELYARD_HD Bytes biased(const Bytes& v) {
  return each_byte([&](int i) { return v.value[i] + kBias<kFactor>; });
}

template <Factor kFactor>
STEELYARD_HD Ints16 dot(Ints16 sums, const Bytes& q, const Bytes& x) {
  for (int i = 0; i < 64; ++i) {
    sums.value[i / 4] += static_cast<int8_t>(q.value[i]) * static_cast<int8_t>(x.value[i]);
  }
  return sums;
}
template <Factor kFactor>
STEELYARD_HD Ints16 dot_fours(Ints16 sums, const Bytes (&q)[4], const Bytes (&x)[4]) {
  for (int i = 0; i < 4; ++i) sums = dot<kFactor>(sums, q[i], x[i]);
  return sums;
}
template <Factor kFactor>
STEELYARD_HD Ints16 times_bias(Ints16 sums) {
  for (int32_t& sum : sums.value) sum *= kBias<kFactor>;
  return sums;
}

STEELYARD_HD inline Floats16 load16(const float* p) {
  return each_float([&](int i) { return p[i]; });
}
STEELYARD_HD inline void store(const Floats16& v, float* p) { std::memcpy(p, v.value, sizeof(v.value)); }
STEELYARD_HD inline Floats16 broadcast16(float value) {
  return each_float([&](int) { return value; });
}
STEELYARD_HD inline Floats16 operator+(const Floats16& a, const Floats16& b) {
  return each_float([&](int i) { return a.value[i] + b.value[i]; });
}
STEELYARD_HD inline Floats16 operator-(const Floats16& a, const Floats16& b) {
  return each_float([&](int i) { return a.value[i] - b.value[i]; });
}
STEELYARD_HD inline Floats16 operator*(const Floats16& a, const Floats16& b) {
  return each_float([&](int i) { return a.value[i] * b.value[i]; });
}
STEELYARD_HD inline Floats16 fma(const Floats16& a, const Floats16& b, const Floats16& c) { return a * b + c; }
STEELYARD_HD inline Floats16 subtract_product(const Floats16& c, const Floats16& a, const Floats16& b) {
  return c - a * b;
}
STEELYARD_HD inline float sum(const Floats16& v) {
  float values[16];
  store(v, values);
  for (int n = 8; n > 0; n /= 2) {
    for (int i = 0; i < n; ++i) values[i] += values[i + n];
  }
  return values[0];
}
STEELYARD_HD inline Ints16 repeat16(int32_t value) {
  Ints16 v;
  for (int32_t& each : v.value) each = value;
  return v;
}
STEELYARD_HD inline void store(const Ints16& v, int32_t* p) { std::memcpy(p, v.value, sizeof(v.value)); }
STEELYARD_HD inline Ints16 load16(const int32_t* p) {
  Ints16 v;
  std::memcpy(v.value, p, sizeof(v.value));
  return v;
}
STEELYARD_HD inline Ints16 next_digit(const Ints16& a, const Ints16& b) {
  Ints16 v;
  for (int i = 0; i < 16; ++i) v.value[i] = a.value[i] * 255 + b.value[i];
  return v;
}
STEELYARD_HD inline void store_low_bytes(const Ints16& v, void* p) {
  for (int i = 0; i < 16; ++i) static_cast<uint8_t*>(p)[i] = static_cast<uint8_t>(v.value[i]);
}
STEELYARD_HD inline Floats16 to_floats(const Ints16& v) {
  return each_float([&](int i) { return static_cast<float>(v.value[i]); });
}
template <int k>
STEELYARD_HD Floats16 to_floats(const Bytes& v) {
  return each_float([&](int i) { return static_cast<float>(static_cast<int8_t>(v.value[16 * k + i])); });
}
STEELYARD_HD inline Floats16 to_floats(const SubScales& sub_scales) {
  int8_t bytes[16];
  std::memcpy(bytes, &sub_scales, sizeof(bytes));
  return each_float([&](int i) { return static_cast<float>(bytes[i]); });
}
STEELYARD_HD inline Floats16 as_floats(const Bytes& v) {
  Floats16 floats;
  std::memcpy(floats.value, v.value, sizeof(floats.value));
  return floats;
}
STEELYARD_HD inline SubScales make_sub_scales(uint64_t low, uint64_t high) {
  return each_sub_scale([&](int i) { return (i < 8 ? low : high) >> (8 * (i % 8)); });
}
STEELYARD_HD inline SubScales repeat_sub_scale(uint8_t byte) {
  return each_sub_scale([&](int) { return byte; });
}
STEELYARD_HD inline SubScales operator+(const SubScales& a, const SubScales& b) {
  return each_sub_scale([&](int i) { return a.byte[i] + b.byte[i]; });
}
STEELYARD_HD inline SubScales operator|(const SubScales& a, const SubScales& b) {
  return each_sub_scale([&](int i) { return a.byte[i] | b.byte[i]; });
}
STEELYARD_HD inline SubScales operator&(const SubScales& a, const SubScales& b) {
  return each_sub_scale([&](int i) { return a.byte[i] & b.byte[i]; });
}
STEELYARD_HD inline SubScales shift_right(const SubScales& v, int count) {
  uint64_t words[2];
  std::memcpy(words, v.byte, sizeof(words));
  return make_sub_scales(words[0] >> count, words[1] >> count);
}
STEELYARD_HD inline SubScales twice(uint64_t eight) {
  return each_sub_scale([&](int i) { return eight >> (8 * (i / 2)); });
}
STEELYARD_HD inline SubScales nibble_sub_scales(uint64_t eight) {
  return each_sub_scale([&](int i) { return eight >> (4 * i) & 15; });
}
STEELYARD_HD inline Floats16 broadcast_half(Half half) {
  return each_float([&](int) { return to_float(half); });
}
template <int k>
STEELYARD_HD Floats16 spread_groups(const Floats16& groups) {
  return each_float([&](int i) { return groups.value[4 * k + i / 4]; });
}
template <int n, int kStride>
STEELYARD_HD Floats16 halves_apart(const void* p) {
  return each_float([&](int i) { return to_float(read<Half>(static_cast<const char*>(p) + i * n / 16 * kStride)); });
}

}  // namespace steelyard::simd::inline STEELYARD_TARGET
