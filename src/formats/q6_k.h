// Q6_K: 6-bit codes around 32, an int8 scale per 16 values, under one half per 256 values.
//
//   bytes    0..127  low     nibbles  low 4 bits: 64 bytes per 128 values, of which 0..63 in the low nibbles
//   bytes  128..191  high    2 bits   high 2 bits: 32 bytes per 128 values; value v in bits 2*(v/32) of byte v%32
//   bytes  192..207  scales  int8     one per 16 values
//   bytes  208..209  d       half     unit of the scales
//
// value = (d * scale) * (code - 32)
#pragma once

#include "formats/codec.h"
#include "formats/search/symmetric_encoder.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

struct Q6_K : SymmetricEncoder<Q6_K> {
  static constexpr Type kType = Type::Q6_K;
  static constexpr int kBlockLen = 256;
  static constexpr Importance kImportance = Importance::kUsed;
  static constexpr std::optional<Type> kFallback = Type::Q8_0;
  static constexpr int kMaxCode = 32;
  static constexpr bool kHasMin = false;
  static constexpr int kScaleLen = 16;
  static constexpr int kHighSubScale = 127;
  static constexpr float kFirstLevel = 24.0f;
  static constexpr float kNextLevel = 1.2f;

  struct [[gnu::packed]] Block {
    uint8_t low[128];
    uint8_t high[64];
    int8_t scales[16];
    Half d;
  };
  static_assert(sizeof(Block) == 210);

  STEELYARD_HD static void unpack(const Block& block, int g, Group& out) {
    const int v = kGroupLen * (g % 8);  // position within the half block of 128 values
    const uint8_t* low = block.low + 64 * (g / 8) + v % 64;
    const uint8_t* high = block.high + 32 * (g / 8) + v % 32;
    for (int i = 0; i < kGroupLen; ++i) {
      const int code = ((low[i] >> (4 * (v / 64))) & 15) | ((high[i] >> (2 * (v / 32))) & 3) << 4;
      out.q[i] = static_cast<int8_t>(code - 32);
    }
    out.scale = to_float(block.d) * static_cast<float>(block.scales[g]);
    out.min = 0.0f;
  }

  STEELYARD_HD static void unpack(const Block* blocks, Span& out) {
    for (int h = 0; h < 2; ++h) {
      const Bytes low = load_bytes(blocks->low + 64 * h);
      const uint8_t* high = blocks->high + 32 * h;
      out.codes[2 * h] = ((low & repeat(15)) | fields<0, 2, 4>(high, 0x30)) - repeat(32);
      const Bytes upper = shift_right(low, {{4, 4, 4, 4, 4, 4, 4, 4}}) & repeat(15);
      out.codes[2 * h + 1] = (upper | fields<4, 6, 4>(high, 0x30)) - repeat(32);
    }
    out.scale = to_floats(read<SubScales>(blocks->scales)) * broadcast_half(blocks->d);
  }

  STEELYARD_HD static void pack(const Scales& scales, const uint32_t* codes, Block& block);
};

}  // namespace steelyard::formats::inline STEELYARD_TARGET
