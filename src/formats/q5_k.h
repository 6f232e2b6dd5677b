// Q5_K: unsigned 5-bit codes, scale and minimum of 6 bits per 32 values, under two halves per 256 values.
//
//   bytes   0..1    d       half     unit of the scales
//   bytes   2..3    d_min   half     unit of the minima
//   bytes   4..15   scales  6 bits   scale s and minimum m of 8 sub-blocks (k_scales.h)
//   bytes  16..47   high    bits     bit b of byte j: fifth bit of code 32b + j
//   bytes  48..175  low     nibbles  byte 32h + j: value 64h + j (low nibble) and 64h + 32 + j (high nibble)
//
// value = (d * s) * code - d_min * m
#pragma once

#include "formats/codec.h"
#include "formats/k_scales.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

struct Q5_K : AffineEncoder<Q5_K> {
  static constexpr Type kType = Type::Q5_K;
  static constexpr int kBlockLen = 256;
  static constexpr Importance kImportance = Importance::kUsed;
  static constexpr std::optional<Type> kFallback = Type::Q5_1;
  static constexpr int kMaxCode = 31;
  static constexpr bool kHasMin = true;
  static constexpr int kScaleLen = 32;
  static constexpr int kHighSubScale = KScales::kHigh;
  static constexpr float kFirstFraction = 1.01f;
  static constexpr float kNextFraction = 0.015f;

  struct [[gnu::packed]] Block {
    KScales scales;
    uint8_t high[32];
    uint8_t low[128];
  };
  static_assert(sizeof(Block) == 176);

  STEELYARD_HD static void unpack(const Block& block, int g, Group& out) {
    const int s = g / 2;
    const uint8_t* low = block.low + 32 * (s / 2) + 16 * (g % 2);
    const uint8_t* high = block.high + 16 * (g % 2);
    for (int i = 0; i < kGroupLen; ++i) {
      out.q[i] = static_cast<int8_t>(((low[i] >> (4 * (s % 2))) & 15) | (((high[i] >> s) & 1) << 4));
    }
    block.scales.unpack(s, out);
  }

  STEELYARD_HD static void unpack(const Block* blocks, Span& out) {
    const Bytes fifth[4] = {fields<0, 1, 4>(blocks->high, 16), fields<2, 3, 4>(blocks->high, 16),
                            fields<4, 5, 4>(blocks->high, 16), fields<6, 7, 4>(blocks->high, 16)};
    for (int k = 0; k < 4; ++k) out.codes[k] = fields<0, 4, 0>(blocks->low + 32 * k, 15) | fifth[k];
    blocks->scales.unpack(out);
  }

  static constexpr int kStoredScales = 2;
  STEELYARD_HD static void read_scales(const Block& block, float* scales) { read_halves(block.scales, scales); }
  STEELYARD_HD static void write_scales(const float* scales, Block& block) { write_halves(scales, block.scales); }

  STEELYARD_HD static void pack(const Scales& scales, const uint32_t* codes, Block& block);
};

}  // namespace steelyard::formats::inline STEELYARD_TARGET
