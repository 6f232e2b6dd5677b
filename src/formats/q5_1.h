// Q5_1: unsigned 5-bit codes, one scale and one offset per 32 values.
//
//   bytes  0..1   d     half     scale
//   bytes  2..3   m     half     offset
//   bytes  4..7   high  uint32   bit i: fifth bit of code i
//   bytes  8..23  low   nibbles  low nibble of byte i: value i; high nibble: value i + 16
//
// value = d * code + m
#pragma once

#include "formats/codec.h"
#include "formats/search/affine.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

struct Q5_1 : OneAffineEncoder<Q5_1> {
  static constexpr Type kType = Type::Q5_1;
  static constexpr int kBlockLen = 32;
  static constexpr Importance kImportance = Importance::kUsed;
  static constexpr std::optional<Type> kFallback = Type::F16;
  static constexpr int kMaxCode = 31;
  static constexpr bool kHasMin = true;
  static constexpr int kScaleLen = 32;

  struct [[gnu::packed]] Block {
    Half d;
    Half m;
    uint32_t high;
    uint8_t low[16];
  };
  static_assert(sizeof(Block) == 24);

  STEELYARD_HD static void unpack(const Block& block, int g, Group& out) {
    const uint32_t high = block.high >> (kGroupLen * g);
    for (int i = 0; i < kGroupLen; ++i) {
      out.q[i] = static_cast<int8_t>(((block.low[i] >> (4 * g)) & 15u) | (((high >> i) & 1u) << 4));
    }
    out.scale = to_float(block.d);
    out.min = -to_float(block.m);
  }

  STEELYARD_HD static void unpack(const Block* blocks, Span& out) {
    for (int k = 0; k < 4; ++k) {
      const Block &first = blocks[2 * k], &second = blocks[2 * k + 1];
      const Bytes high = spread(first.high | uint64_t{second.high} << 32);
      out.codes[k] = nibbles<sizeof(Block)>(first.low) | (high & repeat(16));
    }
    out.scale = halves_apart<8, sizeof(Block)>(&blocks[0].d);
    out.min = halves_apart<8, sizeof(Block)>(&blocks[0].m) * broadcast16(-1.0f);
  }

  STEELYARD_HD static void pack(const Scales& scales, const uint32_t* codes, Block& block);
};

}  // namespace steelyard::formats::inline STEELYARD_TARGET
