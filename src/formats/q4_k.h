// Q4_K: 4-bit codes, scale and minimum of 6 bits per 32 values, under two halves per 256 values.
//
//   bytes   0..1    d       half     unit of the scales
//   bytes   2..3    d_min   half     unit of the minima
//   bytes   4..15   scales  6 bits   scale and minimum of each sub-block (k_scales.h)
//   bytes  16..143  codes   nibbles  32 bytes per pair of sub-blocks: the first in the low nibbles
//
// value = (d * scale) * code - d_min * minimum
#pragma once

#include "formats/codec.h"
#include "formats/k_scales.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

struct Q4_K : AffineEncoder<Q4_K> {
  static constexpr Type kType = Type::Q4_K;
  static constexpr int kBlockLen = 256;
  static constexpr Importance kImportance = Importance::kUsed;
  static constexpr std::optional<Type> kFallback = Type::Q5_0;
  static constexpr int kMaxCode = 15;
  static constexpr bool kHasMin = true;
  static constexpr int kScaleLen = 32;
  static constexpr int kHighSubScale = KScales::kHigh;
  static constexpr float kFirstFraction = 1.01f;
  static constexpr float kNextFraction = 0.015f;

  struct [[gnu::packed]] Block {
    KScales scales;
    uint8_t codes[128];
  };
  static_assert(sizeof(Block) == 144);

  STEELYARD_HD static void unpack(const Block& block, int g, Group& out) {
    const int j = g / 2;
    const uint8_t* codes = block.codes + 32 * (j / 2) + kGroupLen * (g % 2);
    for (int i = 0; i < kGroupLen; ++i) out.q[i] = static_cast<int8_t>((codes[i] >> (4 * (j % 2))) & 15);
    block.scales.unpack(j, out);
  }

  STEELYARD_HD static void unpack(const Block* blocks, Span& out) {
    for (int k = 0; k < 4; ++k) out.codes[k] = fields<0, 4, 0>(blocks->codes + 32 * k, 15);
    blocks->scales.unpack(out);
  }

  static constexpr int kStoredScales = 2;
  STEELYARD_HD static void read_scales(const Block& block, float* scales) { read_halves(block.scales, scales); }
  STEELYARD_HD static void write_scales(const float* scales, Block& block) { write_halves(scales, block.scales); }

  STEELYARD_HD static void pack(const Scales& scales, const uint32_t* codes, Block& block);
};

}  // namespace steelyard::formats::inline STEELYARD_TARGET
