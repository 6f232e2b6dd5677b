// Q4_0: 4-bit codes around 8, one scale per 32 values.
//
//   bytes  0..1   d      half     scale
//   bytes  2..17  codes  nibbles  low nibble of byte i: value i; high nibble: value i + 16
//
// value = d * (code - 8)
#pragma once

#include "formats/codec.h"
#include "formats/search/one_scale.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

struct Q4_0 : OneScaleEncoder<Q4_0> {
  static constexpr Type kType = Type::Q4_0;
  static constexpr int kBlockLen = 32;
  static constexpr Importance kImportance = Importance::kUsed;
  static constexpr std::optional<Type> kFallback = Type::F16;
  static constexpr int kMaxCode = 8;
  static constexpr bool kHasMin = false;
  static constexpr int kScaleLen = 32;

  struct [[gnu::packed]] Block {
    Half d;
    uint8_t codes[16];
  };
  static_assert(sizeof(Block) == 18);

  STEELYARD_HD static void unpack(const Block& block, int g, Group& out) {
    for (int i = 0; i < kGroupLen; ++i) {
      out.q[i] = static_cast<int8_t>(((block.codes[i] >> (4 * g)) & 15) - 8);
    }
    out.scale = to_float(block.d);
    out.min = 0.0f;
  }

  STEELYARD_HD static void unpack(const Block* blocks, Span& out) {
    for (int k = 0; k < 4; ++k) {
      out.codes[k] = nibbles<sizeof(Block)>(blocks[2 * k].codes) - repeat(8);
    }
    out.scale = halves_apart<8, sizeof(Block)>(&blocks[0].d);
  }

  STEELYARD_HD static constexpr IntegerCodes levels() { return {{-8.0f, 7.0f}}; }
  // A negative scale gives the one extra level, -8, to the positive side.
  STEELYARD_HD static constexpr ScaleRange range() { return {{-8.0f, 8.0f}, 0.8f, 1.25f}; }
  STEELYARD_HD static void pack(const Scales& scales, const uint32_t* codes, Block& block);
};

}  // namespace steelyard::formats::inline STEELYARD_TARGET
