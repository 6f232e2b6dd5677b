// What the leaf headers of 128-bit registers share: verbs for which such a register has no instruction worth naming.
#pragma once

namespace steelyard::simd::inline STEELYARD_TARGET {

inline constexpr int kByteBias = 0;
inline constexpr bool kAddsPairs = false;

}  // namespace steelyard::simd::inline STEELYARD_TARGET

#include "simd/vectors.h"

namespace steelyard::simd::inline STEELYARD_TARGET {

/// Bytes as floats.
inline Floats load(const int8_t* p) {
  Ints integers;
  for (int l = 0; l < kLanes; ++l) integers[l] = p[l];
  return to_floats(integers);
}
inline Floats load_halves(const void* p) {
  Half halves[kLanes];
  std::memcpy(halves, p, sizeof(halves));
  Floats v;
  for (int l = 0; l < kLanes; ++l) v[l] = to_float(halves[l]);
  return v;
}
inline Floats load_bfloats(const void* p) {
  uint16_t words[kLanes];
  std::memcpy(words, p, sizeof(words));
  Words bits;
  for (int l = 0; l < kLanes; ++l) bits[l] = words[l];
  bits <<= 16;
  return reinterpret_cast<Floats>(bits);
}
/// |v| < 2^22; a half goes to the even one. Adding a large constant leaves no room for a fraction. (An instruction for
/// it may differ in the sign of zero.)
inline Floats nearest_integer(const Floats& v) {
  const Floats rounder = broadcast(0x1.8p23f);
  return (v + rounder) - rounder;
}
inline Floats clamp(const Floats& v, float low, float high) {
  const Floats below = v < high ? v : broadcast(high);
  return below > low ? below : broadcast(low);
}
template <int n>
inline Floats look_up(const float* table, const Ints& index) {
  Floats v;
  for (int l = 0; l < kLanes; ++l) v[l] = table[index[l] & (n - 1)];
  return v;
}

inline Ints load_quarter(const void* p) {
  Ints v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}
inline Bytes join_halves(const void* a, const void* b) {
  const char *first = static_cast<const char*>(a), *second = static_cast<const char*>(b);
  return {{load_quarter(first), load_quarter(first + 16), load_quarter(second), load_quarter(second + 16)}};
}
inline Bytes join_quarters(const void* a, const void* b, const void* c, const void* d) {
  return {{load_quarter(a), load_quarter(b), load_quarter(c), load_quarter(d)}};
}
template <int kStride>
inline Bytes twice_apart(const void* p) {
  const char* second = static_cast<const char*>(p) + kStride;
  return join_quarters(p, p, second, second);
}
inline Bytes eights_twice(const void* p) {
  return each_part<Bytes>([&](int part) {
    uint64_t eight;
    std::memcpy(&eight, static_cast<const char*>(p) + 8 * part, sizeof(eight));
    return as_ints(eight - LongLanes{});
  });
}
inline Bytes fours(const void* p) {
  const auto* bytes = static_cast<const uint8_t*>(p);
  return each_part<Bytes>([&](int part) {
    const uint8_t* four = bytes + 4 * part;
    return as_ints(Words{four[0], four[1], four[2], four[3]} * 0x01010101u);
  });
}

template <class Word, class Index>
inline Bytes codewords(const Word* grid, const Index& index) {
  Word words[64 / sizeof(Word)];
  for (int i = 0; i < static_cast<int>(64 / sizeof(Word)); ++i) words[i] = grid[index(i)];
  return load_bytes(words);
}

inline void store_low_bytes(const Ints16& v, void* p) {
  int32_t words[16];
  std::memcpy(words, &v, sizeof(words));
  for (int i = 0; i < 16; ++i) static_cast<int8_t*>(p)[i] = static_cast<int8_t>(words[i]);
}
inline Floats16 signed_bytes(const int8_t* bytes) {
  return each_part<Floats16>([&](int p) { return load(bytes + p * kLanes); });
}
template <int k>
inline Floats16 to_floats(const Bytes& v) {
  int8_t bytes[16];
  std::memcpy(bytes, &v.part[k], sizeof(bytes));
  return signed_bytes(bytes);
}
inline Floats16 to_floats(const SubScales& sub_scales) {
  int8_t bytes[16];
  std::memcpy(bytes, &sub_scales, sizeof(bytes));
  return signed_bytes(bytes);
}
inline Floats16 broadcast_half(Half half) { return broadcast16(to_float(half)); }
template <int n, int kStride>
inline Floats16 halves_apart(const void* p) {
  float floats[16];
  for (int i = 0; i < 16; ++i) floats[i] = to_float(read<Half>(static_cast<const char*>(p) + i * n / 16 * kStride));
  return load16(floats);
}

}  // namespace steelyard::simd::inline STEELYARD_TARGET
