// Q2_K: unsigned 2-bit codes, scale and minimum of 4 bits per 16 values, under two halves per 256 values.
//
//   bytes   0..15  scales  nibbles  byte b: scale s (low nibble) and minimum m (high nibble) of sub-block b
//   bytes  16..79  codes   2 bits   bits 2p, 2p + 1 of byte 32h + j: value 128h + 32p + j
//   bytes  80..81  d       half     unit of the scales
//   bytes  82..83  dmin    half     unit of the minima
//
// value = (d * s) * code - dmin * m
#pragma once

#include "formats/bit_codes.h"
#include "formats/codec.h"
#include "formats/search/affine_encoder.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

struct Q2_K : AffineEncoder<Q2_K> {
  static constexpr Type kType = Type::Q2_K;
  static constexpr int kBlockLen = 256;
  static constexpr Importance kImportance = Importance::kUsed;
  static constexpr std::optional<Type> kFallback = Type::Q4_0;
  static constexpr int kMaxCode = 3;
  static constexpr bool kHasMin = true;
  static constexpr int kScaleLen = 16;
  static constexpr int kHighSubScale = 15;
  static constexpr float kFirstFraction = 1.06f;
  static constexpr float kNextFraction = 0.03f;

  struct [[gnu::packed]] Block {
    uint8_t scales[16];
    uint8_t codes[64];
    Half d;
    Half dmin;
  };
  static_assert(sizeof(Block) == 84);

  STEELYARD_HD static void unpack(const Block& block, int g, Group& out) {
    for (int i = 0; i < kGroupLen; ++i) out.q[i] = static_cast<int8_t>(two_bits(block.codes, g, i));
    out.scale = to_float(block.d) * static_cast<float>(block.scales[g] & 15);
    out.min = to_float(block.dmin) * static_cast<float>(block.scales[g] >> 4);
  }

  STEELYARD_HD static void unpack(const Block* blocks, Span& out) {
    two_bit_codes(blocks->codes, out.codes);
    const auto sub_scales = read<SubScales>(blocks->scales);
    out.scale = to_floats(sub_scales & repeat_sub_scale(15)) * broadcast_half(blocks->d);
    out.min = to_floats(shift_right(sub_scales, 4) & repeat_sub_scale(15)) * broadcast_half(blocks->dmin);
  }

  STEELYARD_HD static void pack(const Scales& scales, const uint32_t* codes, Block& block);
};

}  // namespace steelyard::formats::inline STEELYARD_TARGET
