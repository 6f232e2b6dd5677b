// TQ1_0: ternary values, five base-3 digits to a byte, one scale per 256 values.
//
//   bytes   0..31  digits  base 3  digit p of byte j: value 32p + j
//   bytes  32..47                  digit p of byte 32 + j: value 160 + 16p + j
//   bytes  48..51                  digit p < 4 of byte 48 + j: value 240 + 4p + j
//   bytes  52..53  d       half    scale
//
// value = d * (digit - 1)
// A byte is the fraction 0.abcde in base 3, times 256, rounded up: multiplying by 3^p modulo 256 drops the first p
// digits, and the integer part of three times the rest is digit p.
#pragma once

#include "formats/codec.h"
#include "formats/grids.h"
#include "formats/search/one_scale.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

struct TQ1_0 : OneScaleEncoder<TQ1_0> {
  static constexpr Type kType = Type::TQ1_0;
  static constexpr int kBlockLen = 256;
  static constexpr Importance kImportance = Importance::kUsed;
  static constexpr std::optional<Type> kFallback = Type::Q4_0;
  static constexpr int kMaxCode = 1;
  static constexpr bool kHasMin = false;
  static constexpr int kScaleLen = 32;

  struct [[gnu::packed]] Block {
    uint8_t digits[52];
    Half d;
  };
  static_assert(sizeof(Block) == 54);

  /// Digit p of a byte.
  STEELYARD_HD static int digit(uint8_t byte, int p) {
    constexpr uint8_t kPowers[5] = {1, 3, 9, 27, 81};
    const uint32_t rest = (byte * kPowers[p]) & 0xFFu;
    return static_cast<int>((rest * 3) >> 8);
  }

  /// 3^p for the digit of each of the 256 values.
  STEELYARD_HD static const uint8_t* powers() {
    static constexpr auto kPowers = [] {
      constexpr uint8_t kOf[5] = {1, 3, 9, 27, 81};
      Grid<uint8_t, 256> powers = {};
      for (int i = 0; i < 256; ++i)
        powers.codewords[i] = kOf[i < 160 ? i / 32 : i < 240 ? (i - 160) / 16 : (i - 240) / 4];
      return powers;
    }();
    return kPowers.codewords;
  }

  STEELYARD_HD static void unpack(const Block& block, int g, Group& out) {
    for (int i = 0; i < kGroupLen; ++i) {
      const int code = g < 10   ? digit(block.digits[16 * (g % 2) + i], g / 2)
                       : g < 15 ? digit(block.digits[32 + i], g - 10)
                                : digit(block.digits[48 + i % 4], i / 4);
      out.q[i] = static_cast<int8_t>(code - 1);
    }
    out.scale = to_float(block.d);
    out.min = 0.0f;
  }

  STEELYARD_HD static void unpack(const Block* blocks, Span& out) {
    const uint8_t *long_digits = blocks->digits, *digits = blocks->digits + 32;
    alignas(16) static constexpr uint8_t kNone[16] = {};
    // The last quarter: each of the last four bytes in every fourth place.
    alignas(64) static constexpr uint8_t kLast[64] = {
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12, 13, 14, 15, 12, 13, 14, 15, 12, 13, 14, 15, 12, 13, 14, 15};
    const Bytes last = look_up(reinterpret_cast<const int8_t*>(digits + 4), load_bytes(kLast));
    const Bytes is_last = at_least(load_bytes(kLast), 1);
    const Bytes sources[4] = {join_halves(long_digits, long_digits), join_halves(long_digits, long_digits),
                              join_quarters(long_digits, long_digits + 16, digits, digits),
                              join_quarters(digits, digits, digits, kNone) | (last & is_last)};
    for (int k = 0; k < 4; ++k) {
      const Bytes rest = multiply(sources[k], load_bytes(powers() + 64 * k));
      // The digit, the integer part of 3 rest / 256, less 1.
      out.codes[k] = repeat(-1) - (at_least(rest, 86) + at_least(rest, 171));
    }
    out.scale = broadcast_half(blocks->d);
  }

  STEELYARD_HD static constexpr IntegerCodes levels() { return {{-1.0f, 1.0f}}; }
  STEELYARD_HD static constexpr ScaleRange range() { return {{1.0f}, 1.2f, 5.0f}; }
  STEELYARD_HD static void pack(const Scales& scales, const uint32_t* codes, Block& block);
};

}  // namespace steelyard::formats::inline STEELYARD_TARGET
