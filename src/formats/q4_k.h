// Q4_K: 4-bit codes, scale and minimum of 6 bits per 32 values, under two halves per 256 values.
//
//   bytes   0..1    d       half     unit of the scales
//   bytes   2..3    d_min   half     unit of the minima
//   bytes   4..15   scales  6 bits   scale and minimum of each sub-block (k_scales.h)
//   bytes  16..143  codes   nibbles  32 bytes per pair of sub-blocks: the first in the low nibbles
//
// value = (d * scale) * code - d_min * minimum
#pragma once

#include "base/half.h"
#include "formats/codec.h"
#include "formats/k_scales.h"
#include "formats/search/affine_encoder.h"
#include "formats/span.h"

namespace steelyard::inline STEELYARD_TARGET {

struct Q4_K : AffineEncoder<Q4_K> {
  static constexpr Type kType = Type::Q4_K;
  static constexpr int kBlockLen = 256;
  static constexpr Importance kImportance = Importance::kUsed;
  static constexpr std::optional<Type> kFallback = Type::Q5_0;
  static constexpr int kMaxCode = 15;
  static constexpr bool kHasMin = true;
  static constexpr int kScaleLen = 32;
  static constexpr int kSubBlocks = 8;
  static constexpr int kHighCode = 15;
  static constexpr int kHighStep = KScales::kHigh;
  static constexpr float kFirstUnit = 1.01f;
  static constexpr float kNextUnit = 0.015f;

  struct [[gnu::packed]] Block {
    Half d;
    Half d_min;
    KScales scales;
    uint8_t codes[128];
  };
  static_assert(sizeof(Block) == 144);

  STEELYARD_HD static void unpack(const Block& block, int g, Group& out) {
    const int j = g / 2;
    const uint8_t* codes = block.codes + 32 * (j / 2) + kGroupLen * (g % 2);
    for (int i = 0; i < kGroupLen; ++i) out.q[i] = static_cast<int8_t>((codes[i] >> (4 * (j % 2))) & 15);
    out.scale = to_float(block.d) * static_cast<float>(block.scales.scale(j));
    out.min = to_float(block.d_min) * static_cast<float>(block.scales.minimum(j));
  }

  STEELYARD_HD static void unpack(const Block* blocks, Span& out) {
    for (int k = 0; k < 4; ++k) out.codes[k] = fields<0, 4, 0>(blocks->codes + 32 * k, 15);
    out.scale = to_floats(twice(blocks->scales.scales())) * broadcast_half(blocks->d);
    out.min = to_floats(twice(blocks->scales.minima())) * broadcast_half(blocks->d_min);
  }

  static constexpr int kJoint = 1;
  STEELYARD_HD static void pack(const Scales& scales, const uint32_t* codes, Block& block);
};

}  // namespace steelyard::inline STEELYARD_TARGET
