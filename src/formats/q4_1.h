// Q4_1: unsigned 4-bit codes, one scale and one offset per 32 values.
//
//   bytes  0..1   d      half     scale
//   bytes  2..3   m      half     offset
//   bytes  4..19  codes  nibbles  low nibble of byte i: value i; high nibble: value i + 16
//
// value = d * code + m
#pragma once

#include "formats/codec.h"
#include "formats/search/affine.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

struct Q4_1 : OneAffineEncoder<Q4_1> {
  static constexpr Type kType = Type::Q4_1;
  static constexpr int kBlockLen = 32;
  static constexpr Importance kImportance = Importance::kUsed;
  static constexpr std::optional<Type> kFallback = Type::F16;
  static constexpr int kMaxCode = 15;
  static constexpr bool kHasMin = true;
  static constexpr int kScaleLen = 32;

  struct [[gnu::packed]] Block {
    Half d;
    Half m;
    uint8_t codes[16];
  };
  static_assert(sizeof(Block) == 20);

  STEELYARD_HD static void unpack(const Block& block, int g, Group& out) {
    for (int i = 0; i < kGroupLen; ++i) {
      out.q[i] = static_cast<int8_t>((block.codes[i] >> (4 * g)) & 15);
    }
    out.scale = to_float(block.d);
    out.min = -to_float(block.m);
  }

  STEELYARD_HD static void unpack(const Block* blocks, Span& out) {
    for (int k = 0; k < 4; ++k) out.codes[k] = nibbles<sizeof(Block)>(blocks[2 * k].codes);
    out.scale = halves_apart<8, sizeof(Block)>(&blocks[0].d);
    out.min = halves_apart<8, sizeof(Block)>(&blocks[0].m) * broadcast16(-1.0f);
  }

  STEELYARD_HD static void pack(const Scales& scales, const uint32_t* codes, Block& block);
};

}  // namespace steelyard::formats::inline STEELYARD_TARGET
