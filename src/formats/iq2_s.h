// IQ2_S: 8 values share a 10-bit index into a codebook of magnitudes; signs are free; a 4-bit scale per 16 values,
// under one half per 256 values.
//
//   bytes   0..1   d       half    unit of the scales
//   bytes   2..33  low     uint8   low 8 bits of the index of vector v = 0..31
//   bytes  34..65  signs   bits    bit i of byte v: value i of vector v is negative
//   bytes  66..73  high    2 bits  high 2 bits of the index of vector v: bits 2*(v%4) of byte v/4
//   bytes  74..81  scales  nibbles scale s of sub-block b = 0..15: low nibble of byte b/2 for even b, high for odd
//
// value = (d * (0.5 + s) * 0.25) * (+-magnitude)
#pragma once

#include "formats/codec.h"
#include "formats/grids.h"
#include "formats/search/codebook_encoder.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

struct IQ2_S : CodebookEncoder<IQ2_S> {
  static constexpr Type kType = Type::IQ2_S;
  static constexpr int kBlockLen = 256;
  static constexpr Importance kImportance = Importance::kRequired;
  static constexpr std::optional<Type> kFallback = Type::IQ4_NL;
  static constexpr int kMaxCode = 43;
  static constexpr bool kHasMin = false;
  static constexpr int kScaleLen = 16;

  struct [[gnu::packed]] Block {
    Half d;
    uint8_t low[32];
    uint8_t signs[32];
    uint8_t high[8];
    uint8_t scales[8];
  };
  static_assert(sizeof(Block) == 82);

  STEELYARD_HD static void unpack(const Block& block, int g, Group& out) {
    for (int h = 0; h < 2; ++h) {
      const int v = 2 * g + h;
      const int index = block.low[v] | ((block.high[v / 4] >> (2 * (v % 4))) & 3) << 8;
      store_signed(grid()[index], block.signs[v], out.q + 8 * h);
    }
    out.scale = scale_of(block.d, (block.scales[g / 2] >> (4 * (g % 2))) & 15);
    out.min = 0.0f;
  }

  STEELYARD_HD static void unpack(const Block* blocks, Span& out) {
    unrolled<4>([&]<int k>() {
      const uint8_t* low = blocks->low + 8 * k;
      const uint32_t high = uint32_t{read<uint16_t>(blocks->high + 2 * k)} << 8;
      const Bytes magnitudes = codewords(grid(), [&](int i) { return low[i] | (high >> (2 * i) & 0x300); });
      out.codes[k] = negate_where(magnitudes, read<uint64_t>(blocks->signs + 8 * k));
    });
    out.scale = scales_of(blocks->d, nibble_sub_scales(read<uint64_t>(blocks->scales)));
  }

  static constexpr int kVectorDim = 8;
  static constexpr int kIndexBits = 10;
  static constexpr Signs kSigns = Signs::kFree;
  static constexpr double kSubScaleUnit = 0.125;
  static constexpr float kTypicalLevel = 36.2f;
  static constexpr Levels kLevels = {3, 8.0f, 17.5f};
  STEELYARD_HD static const uint64_t* grid() { return iq2_s_grid(); }
  STEELYARD_HD static void pack(const Scales& scales, const uint32_t* codes, Block& block);
};

}  // namespace steelyard::formats::inline STEELYARD_TARGET
