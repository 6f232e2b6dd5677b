// The group view of 256 values at once, in vectors. Loops over rows of weights see every quantized type like this.
//
// F::unpack(blocks, span) fills it from the blocks of 256 values: eight blocks of 32, or one of 256. The numbers are
// those of the group view (group.h), to the bit.
#pragma once

#include <cstdint>

#include "base/half.h"
#include "simd/simd.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

inline constexpr int kSpanLen = 256;

struct Span {
  Bytes codes[4];  ///< of 64 values each
  Floats16 scale;  ///< one per group of 16
  Floats16 min;    ///< where the type has minima (kHasMin), and then no code is negative; else not set
};

// ---- parts of the formats' unpacking

/// The low nibbles of 16 bytes, their high ones, then both of the 16 bytes that are kStride further on.
template <int kStride>
STEELYARD_HD Bytes nibbles(const void* p) {
  return shift_right(twice_apart<kStride>(p), {{0, 0, 4, 4, 0, 0, 4, 4}}) & repeat(15);
}

/// Fields of bits in the same 32 bytes: those at bit kFirst of a byte for the first 32 values, at kSecond for the
/// others; moved to bit kTo and masked. 32 bytes at p.
template <uint64_t kFirst, uint64_t kSecond, uint64_t kTo>
STEELYARD_HD Bytes fields(const void* p, int mask) {
  static_assert((kFirst <= kTo && kSecond <= kTo) || (kFirst >= kTo && kSecond >= kTo));
  const Bytes both = join_halves(p, p);
  if constexpr (kFirst == kTo && kSecond == kTo) {
    return both & repeat(mask);
  } else if constexpr (kFirst <= kTo && kSecond <= kTo) {
    constexpr uint64_t a = kTo - kFirst, b = kTo - kSecond;
    return shift_left(both, {{a, a, a, a, b, b, b, b}}) & repeat(mask);
  } else {
    constexpr uint64_t a = kFirst - kTo, b = kSecond - kTo;
    return shift_right(both, {{a, a, a, a, b, b, b, b}}) & repeat(mask);
  }
}

/// 2-bit codes of 256 values in 64 bytes, as the K-quants have them: bits 2p, 2p + 1 of byte 32h + j for value
/// 128h + 32p + j.
STEELYARD_HD inline void two_bit_codes(const uint8_t* bytes, Bytes (&codes)[4]) {
  codes[0] = fields<0, 2, 0>(bytes, 3);
  codes[1] = fields<4, 6, 0>(bytes, 3);
  codes[2] = fields<0, 2, 0>(bytes + 32, 3);
  codes[3] = fields<4, 6, 0>(bytes + 32, 3);
}

/// sub_scales * 2 + 1, sub_scales below 128.
STEELYARD_HD inline SubScales odd(SubScales sub_scales) { return sub_scales + sub_scales + repeat_sub_scale(1); }

}  // namespace steelyard::formats::inline STEELYARD_TARGET
