// NVFP4: E2M1 floats, an E4M3 scale per 16 values, 64 values to a block. A scale of the whole tensor, where there is
// one, is a tensor of its own and no part of the block.
//
//   bytes  0..3   scales  E4M3     byte b: scale s of sub-block b; its sign is ignored, and 0x7F, a NaN, counts as 0
//   bytes  4..35  codes   nibbles  byte 8b + i: value 16b + i (low nibble) and 16b + 8 + i (high nibble)
//
// value = (s / 2) * e2m1_doubled()[code]
#pragma once

#include "formats/codec.h"
#include "formats/grids.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

struct NVFP4 {
  static constexpr Type kType = Type::NVFP4;
  static constexpr int kBlockLen = 64;
  static constexpr Importance kImportance = Importance::kUsed;
  static constexpr std::optional<Type> kFallback = Type::Q4_0;
  static constexpr int kMaxCode = 12;
  static constexpr bool kHasMin = false;
  static constexpr int kScaleLen = 16;

  struct [[gnu::packed]] Block {
    uint8_t scales[4];
    uint8_t codes[32];
  };
  static_assert(sizeof(Block) == 36);

  /// Half of an E4M3 float (bias 7) whose sign bit is ignored; 0x7F, a NaN, counts as zero.
  STEELYARD_HD static constexpr float half_scale(uint32_t bits) {
    if (bits == 0x7F) return 0.0f;
    const uint32_t exponent = (bits >> 3) & 15u;
    const uint32_t mantissa = bits & 7u;
    if (exponent == 0) return static_cast<float>(mantissa) * 0x1p-10f;
    return std::bit_cast<float>(((exponent + 119u) << 23) | (mantissa << 20));
  }

  /// The bits of every half_scale.
  STEELYARD_HD static const uint32_t* scale_bits() {
    static constexpr auto kScales = [] {
      Grid<uint32_t, 256> scales = {};
      for (uint32_t s = 0; s < 256; ++s) scales.codewords[s] = std::bit_cast<uint32_t>(half_scale(s));
      return scales;
    }();
    return kScales.codewords;
  }

  STEELYARD_HD static void unpack(const Block& block, int g, Group& out) {
    const int8_t* values = e2m1_doubled();
    for (int i = 0; i < kGroupLen; ++i) {
      out.q[i] = values[(block.codes[8 * g + i % 8] >> (4 * (i / 8))) & 15];
    }
    out.scale = half_scale(block.scales[g]);
    out.min = 0.0f;
  }

  STEELYARD_HD static void unpack(const Block* blocks, Span& out) {
    for (int k = 0; k < 4; ++k) {
      const Bytes codes = shift_right(eights_twice(blocks[k].codes), {{0, 4, 0, 4, 0, 4, 0, 4}}) & repeat(15);
      out.codes[k] = look_up(e2m1_doubled(), codes);
    }
    out.scale = as_floats(codewords(scale_bits(), [&](int i) { return blocks[i / 4].scales[i % 4]; }));
  }

  static constexpr int kVectorDim = 1;
  struct Scales {
    uint8_t s[4];  ///< of the sub-blocks
  };
  STEELYARD_HD static Scales fit(const float* x, const float* w, Effort effort, uint32_t* codes);
  STEELYARD_HD static uint32_t round(const float* x, const float* w, const Scales& scales, int position, float* values);
  STEELYARD_HD static void refit(const float* x, const float* w, const uint32_t* codes, Scales& scales);
  STEELYARD_HD static void pack(const Scales& scales, const uint32_t* codes, Block& block);
};

}  // namespace steelyard::formats::inline STEELYARD_TARGET
