// Codebooks and value tables that formats share. Every table is a constant of the file formats; the source of the
// numbers is the PyPI package gguf (gguf/quants.py).
//
// Tables are statics of functions, because only then does nvcc place them in device memory by itself: the same accessor
// serves host and device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "formats/grids_packed.h"
#include "formats/group.h"
#include "simd/simd.h"
#include "simd/this_target.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

/// N codewords, each as the bytes of one Word: value i of a codeword is byte i, the lowest first.
template <typename Word, size_t N>
struct Grid {
  Word codewords[N];
};

/// Codewords of sizeof(Word) values, `bits` per value, with the levels that the packed indices stand for.
template <typename Word, size_t N, size_t L>
STEELYARD_HD constexpr Grid<Word, N> expand(const uint16_t (&packed)[N], int bits, const int8_t (&levels)[L]) {
  Grid<Word, N> grid = {};
  for (size_t c = 0; c < N; ++c) {
    for (size_t i = 0; i < sizeof(Word); ++i) {
      const int8_t level = levels[(packed[c] >> (static_cast<size_t>(bits) * i)) & ((1u << bits) - 1)];
      grid.codewords[c] |= static_cast<Word>(static_cast<uint8_t>(level)) << (8 * i);
    }
  }
  return grid;
}

inline constexpr int8_t kIq1Levels[] = {-1, 0, 1};
inline constexpr int8_t kIq2Levels[] = {8, 25, 43};
inline constexpr int8_t kIq3XxsLevels[] = {4, 12, 20, 28, 36, 44, 52, 62};
inline constexpr int8_t kIq3SLevels[] = {1, 3, 5, 7, 9, 11, 13, 15};

/// IQ1_S and IQ1_M: 2048 codewords of 8 signed values.
STEELYARD_HD inline const uint64_t* iq1_grid() {
  static constexpr auto kGrid = expand<uint64_t>(packed::kIq1, 2, kIq1Levels);
  return kGrid.codewords;
}

/// 256 codewords of 8 magnitudes.
STEELYARD_HD inline const uint64_t* iq2_xxs_grid() {
  static constexpr auto kGrid = expand<uint64_t>(packed::kIq2Xxs, 2, kIq2Levels);
  return kGrid.codewords;
}

/// 512 codewords of 8 magnitudes.
STEELYARD_HD inline const uint64_t* iq2_xs_grid() {
  static constexpr auto kGrid = expand<uint64_t>(packed::kIq2Xs, 2, kIq2Levels);
  return kGrid.codewords;
}

/// 1024 codewords of 8 magnitudes.
STEELYARD_HD inline const uint64_t* iq2_s_grid() {
  static constexpr auto kGrid = expand<uint64_t>(packed::kIq2S, 2, kIq2Levels);
  return kGrid.codewords;
}

/// 256 codewords of 4 magnitudes.
STEELYARD_HD inline const uint32_t* iq3_xxs_grid() {
  static constexpr auto kGrid = expand<uint32_t>(packed::kIq3Xxs, 3, kIq3XxsLevels);
  return kGrid.codewords;
}

/// 512 codewords of 4 magnitudes.
STEELYARD_HD inline const uint32_t* iq3_s_grid() {
  static constexpr auto kGrid = expand<uint32_t>(packed::kIq3S, 3, kIq3SLevels);
  return kGrid.codewords;
}

/// IQ4_NL and IQ4_XS: the 16 values of a code, ascending.
STEELYARD_HD inline const int8_t* iq4_values() {
  static constexpr int8_t kValues[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
  return kValues;
}

/// MXFP4 and NVFP4: twice the 16 values of an E2M1 float (OCP Microscaling Formats 1.0), so that they are integers.
STEELYARD_HD inline const int8_t* e2m1_doubled() {
  static constexpr int8_t kValues[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
  return kValues;
}

/// The 8 signs for a stored 7-bit index: bits 0 to 6 are the index, bit 7 makes the number of minus signs even.
STEELYARD_HD constexpr uint8_t even_signs(uint32_t index) {
  uint32_t parity = index ^ (index >> 4);
  parity ^= parity >> 2;
  parity ^= parity >> 1;
  return static_cast<uint8_t>(index | ((parity & 1) << 7));
}

/// The same for eight indices, each in a byte.
STEELYARD_HD constexpr uint64_t with_parity(uint64_t indices) {
  uint64_t parity = indices ^ (indices >> 4);  // of bits of the same byte only, as far as it counts
  parity ^= parity >> 2;
  parity ^= parity >> 1;
  return indices | (parity & 0x0101010101010101u) << 7;
}

/// The same for the four indices in each half of `words`, packed from bit 0 on: eight bytes of signs.
STEELYARD_HD constexpr uint64_t eight_signs(uint64_t words) {
  constexpr uint64_t kEach = 0x0000000100000001u;
  return with_parity((words & 0x7F * kEach) | (words & (0x7F << 7) * kEach) << 1 | (words & (0x7F << 14) * kEach) << 2 |
                     (words & (0x7F << 21) * kEach) << 3);
}

/// The steps above these signs, bits 28 to 31 of each half, as two bytes.
STEELYARD_HD constexpr uint64_t steps_above_signs(uint64_t words) { return (words >> 28 & 15) | (words >> 60) << 8; }

/// Writes 8 magnitudes (bytes of `magnitudes`, each 1..127) to q, negated where `signs` has a bit set.
STEELYARD_HD inline void store_signed(uint64_t magnitudes, uint8_t signs, int8_t* q) {
  constexpr uint64_t kOnes = 0x0101010101010101u;
  const uint64_t own_bit = (signs * kOnes) & 0x8040201008040201u;             // byte i keeps bit i
  const uint64_t negative = ((own_bit + 0x7F * kOnes) >> 7) & kOnes;          // 1 in every byte with its bit set
  const uint64_t signed_bytes = (magnitudes ^ (negative * 0xFF)) + negative;  // two's complement; no byte carries
  std::memcpy(q, &signed_bytes, sizeof(signed_bytes));
}

/// Writes 8 ternary values (signed bytes of `codeword`) as 8 t + shift, shift = -1 or 1: eighths of IQ1's t +- 1/8.
STEELYARD_HD inline void store_iq1(uint64_t codeword, int shift, int8_t* q) {
  for (int i = 0; i < 8; ++i) q[i] = static_cast<int8_t>(8 * static_cast<int8_t>(codeword >> (8 * i)) + shift);
}

/// 64 ternary values as 8 t + shift, the shift -1 where `is_negative` is all ones, 1 where it is zero.
STEELYARD_HD inline Bytes shifted_eighths(const Bytes& ternary, const Bytes& is_negative) {
  const Bytes twofold = ternary + ternary, fourfold = twofold + twofold;
  return (fourfold + fourfold) + (repeat(1) + (is_negative + is_negative));
}

}  // namespace steelyard::formats::inline STEELYARD_TARGET
