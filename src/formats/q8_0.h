// Q8_0: 8-bit codes, one scale per 32 values.
//
//   bytes   0..1   d      half    scale
//   bytes   2..33  codes  int8    one per value
//
// value = d * code
#pragma once

#include "formats/codec.h"
#include "formats/search/one_scale.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

struct Q8_0 : OneScaleEncoder<Q8_0> {
  static constexpr Type kType = Type::Q8_0;
  static constexpr int kBlockLen = 32;
  static constexpr Importance kImportance = Importance::kIgnored;
  static constexpr std::optional<Type> kFallback = Type::F16;
  static constexpr int kMaxCode = 128;
  static constexpr bool kHasMin = false;
  static constexpr int kScaleLen = 32;

  struct [[gnu::packed]] Block {
    Half d;
    int8_t codes[32];
  };
  static_assert(sizeof(Block) == 34);

  STEELYARD_HD static void unpack(const Block& block, int g, Group& out) {
    for (int i = 0; i < kGroupLen; ++i) out.q[i] = block.codes[kGroupLen * g + i];
    out.scale = to_float(block.d);
    out.min = 0.0f;
  }

  STEELYARD_HD static void unpack(const Block* blocks, Span& out) {
    for (int k = 0; k < 4; ++k) out.codes[k] = join_halves(blocks[2 * k].codes, blocks[2 * k + 1].codes);
    out.scale = halves_apart<8, sizeof(Block)>(&blocks[0].d);
  }

  STEELYARD_HD static constexpr IntegerCodes levels() { return {{-127.0f, 127.0f}}; }
  STEELYARD_HD static constexpr ScaleRange range() { return {{127.0f}, 0.85f, 1.05f}; }
  STEELYARD_HD static void objective(const float* x, const float* importance, float* w);
  STEELYARD_HD static void pack(const Scales& scales, const uint32_t* codes, Block& block);
};

}  // namespace steelyard::formats::inline STEELYARD_TARGET
