// IQ4_XS: 4-bit codes into the table of IQ4_NL, a signed 6-bit scale per 32 values, under one half per 256 values.
//
//   bytes  0..1    d            half     unit of the scales
//   bytes  2..3    scales_high  uint16   bits 2b, 2b + 1: high 2 bits of scale s of sub-block b
//   bytes  4..7    scales_low   nibbles  low 4 bits: byte b / 2, low nibble for even b, high for odd
//   bytes  8..135  codes        nibbles  byte 16b + i: value 32b + i (low nibble) and 32b + 16 + i (high nibble)
//
// value = (d * (s - 32)) * iq4_values()[code]
#pragma once

#include "formats/codec.h"
#include "formats/grids.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

struct IQ4_XS {
  static constexpr Type kType = Type::IQ4_XS;
  static constexpr int kBlockLen = 256;
  static constexpr Importance kImportance = Importance::kUsed;
  static constexpr std::optional<Type> kFallback = Type::IQ4_NL;
  static constexpr int kMaxCode = 127;
  static constexpr bool kHasMin = false;
  static constexpr int kScaleLen = 32;

  struct [[gnu::packed]] Block {
    Half d;
    uint16_t scales_high;
    uint8_t scales_low[4];
    uint8_t codes[128];
  };
  static_assert(sizeof(Block) == 136);

  STEELYARD_HD static void unpack(const Block& block, int g, Group& out) {
    const int s = g / 2;
    const int8_t* values = iq4_values();
    for (int i = 0; i < kGroupLen; ++i) {
      out.q[i] = values[(block.codes[16 * s + i] >> (4 * (g % 2))) & 15];
    }
    const int scale_low = (block.scales_low[s / 2] >> (4 * (s % 2))) & 15;
    const int scale_high = (block.scales_high >> (2 * s)) & 3;
    out.scale = to_float(block.d) * static_cast<float>((scale_low | (scale_high << 4)) - 32);
    out.min = 0.0f;
  }

  STEELYARD_HD static void unpack(const Block* blocks, Span& out) {
    for (int k = 0; k < 4; ++k) {
      const uint8_t* codes = blocks->codes + 32 * k;
      out.codes[k] = look_up(iq4_values(), nibbles<16>(codes));
    }
    uint64_t high = blocks->scales_high;  // each two bits into a byte
    high = (high | high << 24) & 0x000000FF000000FFu;
    high = (high | high << 12) & 0x000F000F000F000Fu;
    high = (high | high << 6) & 0x0303030303030303u;
    const SubScales sub_scales = twice(nibbles_as_bytes(read<uint32_t>(blocks->scales_low)) | high << 4);
    out.scale = (to_floats(sub_scales) - broadcast16(32.0f)) * broadcast_half(blocks->d);
  }

  static constexpr int kVectorDim = 1;
  static constexpr int kSubBlocks = 8;
  struct Scales {
    Half d;
    int8_t s[kSubBlocks];  ///< of the sub-blocks, -32 to 31
  };
  STEELYARD_HD static Scales fit(const float* x, const float* w, Effort effort, uint32_t* codes);
  STEELYARD_HD static uint32_t round(const float* x, const float* w, const Scales& scales, int position, float* values);
  STEELYARD_HD static void rescale(const float* x, const float* w, int position, Effort effort, Scales& scales);
  STEELYARD_HD static void refit(const float* x, const float* w, const uint32_t* codes, Scales& scales);
  STEELYARD_HD static void pack(const Scales& scales, const uint32_t* codes, Block& block);
};

}  // namespace steelyard::formats::inline STEELYARD_TARGET
