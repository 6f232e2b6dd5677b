// TQ2_0: ternary values as 2-bit codes around 1, one scale per 256 values.
//
//   bytes   0..63  codes  2 bits  bits 2p, 2p + 1 of byte 32h + j: value 128h + 32p + j
//   bytes  64..65  d      half    scale
//
// value = d * (code - 1)
#pragma once

#include "formats/bit_codes.h"
#include "formats/codec.h"
#include "formats/search/one_scale.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

struct TQ2_0 : OneScaleEncoder<TQ2_0> {
  static constexpr Type kType = Type::TQ2_0;
  static constexpr int kBlockLen = 256;
  static constexpr Importance kImportance = Importance::kUsed;
  static constexpr std::optional<Type> kFallback = Type::Q4_0;
  static constexpr int kMaxCode = 2;
  static constexpr bool kHasMin = false;
  static constexpr int kScaleLen = 32;

  struct [[gnu::packed]] Block {
    uint8_t codes[64];
    Half d;
  };
  static_assert(sizeof(Block) == 66);

  STEELYARD_HD static void unpack(const Block& block, int g, Group& out) {
    for (int i = 0; i < kGroupLen; ++i) out.q[i] = static_cast<int8_t>(two_bits(block.codes, g, i) - 1);
    out.scale = to_float(block.d);
    out.min = 0.0f;
  }

  STEELYARD_HD static void unpack(const Block* blocks, Span& out) {
    two_bit_codes(blocks->codes, out.codes);
    for (Bytes& codes : out.codes) codes = codes - repeat(1);
    out.scale = broadcast_half(blocks->d);
  }

  STEELYARD_HD static constexpr IntegerCodes levels() { return {{-1.0f, 1.0f}}; }
  STEELYARD_HD static constexpr ScaleRange range() { return {{1.0f}, 1.2f, 5.0f}; }
  STEELYARD_HD static void pack(const Scales& scales, const uint32_t* codes, Block& block);
};

}  // namespace steelyard::formats::inline STEELYARD_TARGET
