// Q5_0: 5-bit codes around 16, one scale per 32 values.
//
//   bytes   0..1   d      half    scale
//   bytes   2..5   high   uint32  bit i: fifth bit of code i
//   bytes   6..21  low    nibbles low nibble of byte i: value i; high nibble: value i + 16
//
// value = d * (code - 16)
#pragma once

#include "formats/codec.h"
#include "formats/search/one_scale.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

struct Q5_0 : OneScaleEncoder<Q5_0> {
  static constexpr Type kType = Type::Q5_0;
  static constexpr int kBlockLen = 32;
  static constexpr Importance kImportance = Importance::kUsed;
  static constexpr std::optional<Type> kFallback = Type::F16;
  static constexpr int kMaxCode = 16;
  static constexpr bool kHasMin = false;
  static constexpr int kScaleLen = 32;

  struct [[gnu::packed]] Block {
    Half d;
    uint32_t high;
    uint8_t low[16];
  };
  static_assert(sizeof(Block) == 22);

  STEELYARD_HD static void unpack(const Block& block, int g, Group& out) {
    const uint32_t high = block.high >> (kGroupLen * g);
    for (int i = 0; i < kGroupLen; ++i) {
      const uint32_t code = ((block.low[i] >> (4 * g)) & 15u) | (((high >> i) & 1u) << 4);
      out.q[i] = static_cast<int8_t>(static_cast<int>(code) - 16);
    }
    out.scale = to_float(block.d);
    out.min = 0.0f;
  }

  STEELYARD_HD static void unpack(const Block* blocks, Span& out) {
    for (int k = 0; k < 4; ++k) {
      const Block &first = blocks[2 * k], &second = blocks[2 * k + 1];
      const Bytes high = spread(first.high | uint64_t{second.high} << 32);
      out.codes[k] = nibbles<sizeof(Block)>(first.low) - repeat(16) + (high & repeat(16));
    }
    out.scale = halves_apart<8, sizeof(Block)>(&blocks[0].d);
  }

  STEELYARD_HD static constexpr IntegerCodes levels() { return {{-16.0f, 15.0f}}; }
  // A negative scale gives the one extra level, -16, to the positive side.
  STEELYARD_HD static constexpr ScaleRange range() { return {{-16.0f, 16.0f}, 0.8f, 1.25f}; }
  STEELYARD_HD static void pack(const Scales& scales, const uint32_t* codes, Block& block);
};

}  // namespace steelyard::formats::inline STEELYARD_TARGET
