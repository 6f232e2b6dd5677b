// IQ3_S: 4 values share a 9-bit index into a codebook of magnitudes; signs are free; a 4-bit scale per 32 values, under
// one half per 256 values.
//
//   bytes    0..1    d       half    unit of the scales
//   bytes    2..65   low     uint8   low 8 bits of the index of vector v = 0..63
//   bytes   66..73   high    bits    bit 8 of the index of vector v: bit v%8 of byte v/8
//   bytes   74..105  signs   bits    bit i of byte k: value 8k + i is negative
//   bytes  106..109  scales  nibbles scale s of sub-block b = 0..7: low nibble of byte b/2 for even b, high for odd
//
// value = (d * (1 + 2*s)) * (+-magnitude)
#pragma once

#include "formats/codec.h"
#include "formats/grids.h"
#include "formats/search/codebook_encoder.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

struct IQ3_S : CodebookEncoder<IQ3_S> {
  static constexpr Type kType = Type::IQ3_S;
  static constexpr int kBlockLen = 256;
  static constexpr Importance kImportance = Importance::kUsed;
  static constexpr std::optional<Type> kFallback = Type::IQ4_NL;
  static constexpr int kMaxCode = 15;
  static constexpr bool kHasMin = false;
  static constexpr int kScaleLen = 32;

  struct [[gnu::packed]] Block {
    Half d;
    uint8_t low[64];
    uint8_t high[8];
    uint8_t signs[32];
    uint8_t scales[4];
  };
  static_assert(sizeof(Block) == 110);

  STEELYARD_HD static void unpack(const Block& block, int g, Group& out) {
    for (int i = 0; i < 2; ++i) {
      const int k = 2 * g + i;
      const int v = 2 * k;
      const uint64_t first = grid()[block.low[v] | ((block.high[v / 8] >> (v % 8)) & 1) << 8];
      const uint64_t second = grid()[block.low[v + 1] | ((block.high[v / 8] >> (v % 8 + 1)) & 1) << 8];
      store_signed(first | second << 32, block.signs[k], out.q + 8 * i);
    }
    const int b = g / 2;
    out.scale = scale_of(block.d, (block.scales[b / 2] >> (4 * (b % 2))) & 15);
    out.min = 0.0f;
  }

  STEELYARD_HD static void unpack(const Block* blocks, Span& out) {
    unrolled<4>([&]<int k>() {
      const uint8_t* low = blocks->low + 16 * k;
      const uint32_t high = uint32_t{read<uint16_t>(blocks->high + 2 * k)} << 8;
      const Bytes magnitudes = codewords(grid(), [&](int i) { return low[i] | (high >> i & 0x100); });
      out.codes[k] = negate_where(magnitudes, read<uint64_t>(blocks->signs + 8 * k));
    });
    out.scale = scales_of(blocks->d, twice(nibbles_as_bytes(read<uint32_t>(blocks->scales))));
  }

  static constexpr int kVectorDim = 4;
  static constexpr int kIndexBits = 9;
  static constexpr Signs kSigns = Signs::kFree;
  static constexpr double kSubScaleUnit = 1.0;
  static constexpr float kTypicalLevel = 10.8f;
  static constexpr Levels kLevels = {8, 1.0f, 2.0f};
  STEELYARD_HD static const uint32_t* grid() { return iq3_s_grid(); }
  STEELYARD_HD static void pack(const Scales& scales, const uint32_t* codes, Block& block);
};

}  // namespace steelyard::formats::inline STEELYARD_TARGET
