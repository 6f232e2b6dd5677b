// Q2_0: 2-bit codes around 1, one scale per 64 values.
//
//   bytes  0..1   d      half    scale
//   bytes  2..17  codes  2 bits  bits 2p, 2p + 1 of byte j: value 4j + p
//
// value = d * (code - 1)
#pragma once

#include "formats/codec.h"
#include "formats/search/one_scale.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

struct Q2_0 : OneScaleEncoder<Q2_0> {
  static constexpr Type kType = Type::Q2_0;
  static constexpr int kBlockLen = 64;
  static constexpr Importance kImportance = Importance::kUsed;
  static constexpr std::optional<Type> kFallback = Type::Q4_0;
  static constexpr int kMaxCode = 2;
  static constexpr bool kHasMin = false;
  static constexpr int kScaleLen = 32;

  struct [[gnu::packed]] Block {
    Half d;
    uint8_t codes[16];
  };
  static_assert(sizeof(Block) == 18);

  STEELYARD_HD static void unpack(const Block& block, int g, Group& out) {
    for (int i = 0; i < kGroupLen; ++i) {
      out.q[i] = static_cast<int8_t>(((block.codes[4 * g + i / 4] >> (2 * (i % 4))) & 3) - 1);
    }
    out.scale = to_float(block.d);
    out.min = 0.0f;
  }

  STEELYARD_HD static void unpack(const Block* blocks, Span& out) {
    // Each byte four times; a factor moves the code of each to the top of its byte.
    alignas(64) static constexpr uint32_t kFactors[16] = {
        0x01041040, 0x01041040, 0x01041040, 0x01041040, 0x01041040, 0x01041040, 0x01041040, 0x01041040,
        0x01041040, 0x01041040, 0x01041040, 0x01041040, 0x01041040, 0x01041040, 0x01041040, 0x01041040};
    for (int k = 0; k < 4; ++k) {
      const Bytes raised = multiply(fours(blocks[k].codes), load_bytes(kFactors));
      out.codes[k] = (shift_right(raised, {{6, 6, 6, 6, 6, 6, 6, 6}}) & repeat(3)) - repeat(1);
    }
    out.scale = halves_apart<4, sizeof(Block)>(&blocks[0].d);
  }

  STEELYARD_HD static constexpr IntegerCodes levels() { return {{-1.0f, 2.0f}}; }
  STEELYARD_HD static constexpr ScaleRange range() { return {{1.0f, -1.0f}, 1.2f, 4.0f}; }
  STEELYARD_HD static void pack(const Scales& scales, const uint32_t* codes, Block& block);
};

}  // namespace steelyard::formats::inline STEELYARD_TARGET
