// Q1_0: signs, one scale per 128 values.
//
//   bytes  0..1   d      half  scale
//   bytes  2..17  signs  bits  bit i of byte j: value 8j + i
//
// value = d if its bit is set, else -d
#pragma once

#include "formats/codec.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

struct Q1_0 {
  static constexpr Type kType = Type::Q1_0;
  static constexpr int kBlockLen = 128;
  static constexpr Importance kImportance = Importance::kUsed;
  static constexpr std::optional<Type> kFallback = Type::Q4_0;
  static constexpr int kMaxCode = 1;
  static constexpr bool kHasMin = false;
  static constexpr int kScaleLen = 32;

  struct [[gnu::packed]] Block {
    Half d;
    uint8_t signs[16];
  };
  static_assert(sizeof(Block) == 18);

  STEELYARD_HD static void unpack(const Block& block, int g, Group& out) {
    for (int i = 0; i < kGroupLen; ++i) {
      const int bit = (block.signs[2 * g + i / 8] >> (i % 8)) & 1;
      out.q[i] = static_cast<int8_t>(2 * bit - 1);
    }
    out.scale = to_float(block.d);
    out.min = 0.0f;
  }

  STEELYARD_HD static void unpack(const Block* blocks, Span& out) {
    for (int k = 0; k < 4; ++k) {
      const Bytes minus_bits = spread(read<uint64_t>(blocks[k / 2].signs + 8 * (k % 2)));
      out.codes[k] = repeat(-1) - (minus_bits + minus_bits);
    }
    out.scale = halves_apart<2, sizeof(Block)>(&blocks[0].d);
  }

  static constexpr int kVectorDim = 1;
  struct Scales {
    Half d;
  };
  STEELYARD_HD static Scales fit(const float* x, const float* w, Effort effort, uint32_t* codes);
  STEELYARD_HD static uint32_t round(const float* x, const float* w, const Scales& scales, int position, float* values);
  STEELYARD_HD static void refit(const float* x, const float* w, const uint32_t* codes, Scales& scales);
  STEELYARD_HD static void pack(const Scales& scales, const uint32_t* codes, Block& block);
};

}  // namespace steelyard::formats::inline STEELYARD_TARGET
