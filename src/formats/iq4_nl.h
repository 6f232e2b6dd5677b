// IQ4_NL: 4-bit codes into a table of 16 unevenly spaced values, one scale per 32 values.
//
//   bytes   0..1   d      half    scale
//   bytes   2..17  codes  nibbles low nibble of byte i: value i; high nibble: value i + 16
//
// value = d * iq4_values()[code]
#pragma once

#include "formats/codec.h"
#include "formats/grids.h"
#include "formats/search/iq4_levels.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

struct IQ4_NL : OneScaleEncoder<IQ4_NL> {
  static constexpr Type kType = Type::IQ4_NL;
  static constexpr int kBlockLen = 32;
  static constexpr Importance kImportance = Importance::kUsed;
  static constexpr std::optional<Type> kFallback = Type::F16;
  static constexpr int kMaxCode = 127;
  static constexpr bool kHasMin = false;
  static constexpr int kScaleLen = 32;

  struct [[gnu::packed]] Block {
    Half d;
    uint8_t codes[16];
  };
  static_assert(sizeof(Block) == 18);

  STEELYARD_HD static void unpack(const Block& block, int g, Group& out) {
    const int8_t* values = iq4_values();
    for (int i = 0; i < kGroupLen; ++i) out.q[i] = values[(block.codes[i] >> (4 * g)) & 15];
    out.scale = to_float(block.d);
    out.min = 0.0f;
  }

  STEELYARD_HD static void unpack(const Block* blocks, Span& out) {
    for (int k = 0; k < 4; ++k) {
      out.codes[k] = look_up(iq4_values(), nibbles<sizeof(Block)>(blocks[2 * k].codes));
    }
    out.scale = halves_apart<8, sizeof(Block)>(&blocks[0].d);
  }

  STEELYARD_HD static constexpr Iq4Levels levels() { return {}; }
  STEELYARD_HD static constexpr ScaleRange range() { return iq4_range(); }
  STEELYARD_HD static void pack(const Scales& scales, const uint32_t* codes, Block& block);
};

}  // namespace steelyard::formats::inline STEELYARD_TARGET
