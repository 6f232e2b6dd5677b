// Q3_K: signed 3-bit codes, a signed 6-bit scale per 16 values, under one half per 256 values.
//
//   bytes    0..31   high         bits     bit p of byte j: third bit of code 32p + j
//   bytes   32..95   low          2 bits   bits 2p, 2p + 1 of byte 32h + j: low bits of code 128h + 32p + j
//   bytes   96..103  scales_low   nibbles  scale s of sub-block b, low 4 bits: byte b % 8, low nibble for b < 8
//   bytes  104..107  scales_high  2 bits   high 2 bits: byte b % 4, bits 2 * (b / 4) and the next
//   bytes  108..109  d            half     unit of the scales
//
// value = (d * (s - 32)) * (code - 4)
#pragma once

#include "formats/bit_codes.h"
#include "formats/codec.h"
#include "formats/search/symmetric_encoder.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

struct Q3_K : SymmetricEncoder<Q3_K> {
  static constexpr Type kType = Type::Q3_K;
  static constexpr int kBlockLen = 256;
  static constexpr Importance kImportance = Importance::kUsed;
  static constexpr std::optional<Type> kFallback = Type::Q4_0;
  static constexpr int kMaxCode = 4;
  static constexpr bool kHasMin = false;
  static constexpr int kScaleLen = 16;
  static constexpr int kHighSubScale = 31;
  static constexpr float kFirstLevel = 2.8f;
  static constexpr float kNextLevel = 0.5f;

  struct [[gnu::packed]] Block {
    uint8_t high[32];
    uint8_t low[64];
    uint8_t scales_low[8];
    uint8_t scales_high[4];
    Half d;
  };
  static_assert(sizeof(Block) == 110);

  STEELYARD_HD static void unpack(const Block& block, int g, Group& out) {
    const uint8_t* high = block.high + 16 * (g % 2);
    for (int i = 0; i < kGroupLen; ++i) {
      const int code = two_bits(block.low, g, i) | (((high[i] >> (g / 2)) & 1) << 2);
      out.q[i] = static_cast<int8_t>(code - 4);
    }
    const int scale_low = (block.scales_low[g % 8] >> (4 * (g / 8))) & 15;
    const int scale_high = (block.scales_high[g % 4] >> (2 * (g / 4))) & 3;
    out.scale = to_float(block.d) * static_cast<float>((scale_low | (scale_high << 4)) - 32);
    out.min = 0.0f;
  }

  STEELYARD_HD static void unpack(const Block* blocks, Span& out) {
    two_bit_codes(blocks->low, out.codes);
    const Bytes third[4] = {fields<0, 1, 2>(blocks->high, 4), fields<2, 3, 2>(blocks->high, 4),
                            fields<4, 5, 2>(blocks->high, 4), fields<6, 7, 2>(blocks->high, 4)};
    for (int k = 0; k < 4; ++k) out.codes[k] = (out.codes[k] | third[k]) - repeat(4);
    const auto low = read<uint64_t>(blocks->scales_low);
    const uint64_t high = read<uint32_t>(blocks->scales_high);
    const auto eight_scales = [](uint64_t four_bits, uint64_t two_bits) {  // of eight sub-blocks
      return (four_bits & 0x0F0F0F0F0F0F0F0Fu) | ((two_bits | two_bits << 30) & 0x0303030303030303u) << 4;
    };
    const SubScales sub_scales = make_sub_scales(eight_scales(low, high), eight_scales(low >> 4, high >> 4));
    out.scale = (to_floats(sub_scales) - broadcast16(32.0f)) * broadcast_half(blocks->d);
  }

  STEELYARD_HD static void pack(const Scales& scales, const uint32_t* codes, Block& block);
};

}  // namespace steelyard::formats::inline STEELYARD_TARGET
