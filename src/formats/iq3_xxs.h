// IQ3_XXS: 4 values share an 8-bit index into a codebook of magnitudes, 8 values 7 bits of signs; a 4-bit scale per
// 32 values, under one half per 256 values.
//
//   bytes   0..1   d                 half    unit of the scales
//   bytes   2..65  indices           uint8   byte v: index of vector v = 0..63
//   bytes  66..97  signs_and_scales  uint32  for each 32 values: bits 7k .. 7k + 6 the signs of values 8k .. 8k + 7,
//                                            bits 28..31 the scale s
//
// value = (d * (0.5 + s) * 0.5) * (+-magnitude)
// The eighth sign makes the number of minus signs even.
#pragma once

#include "formats/codec.h"
#include "formats/grids.h"
#include "formats/search/codebook_encoder.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

struct IQ3_XXS : CodebookEncoder<IQ3_XXS> {
  static constexpr Type kType = Type::IQ3_XXS;
  static constexpr int kBlockLen = 256;
  static constexpr Importance kImportance = Importance::kRequired;
  static constexpr std::optional<Type> kFallback = Type::IQ4_NL;
  static constexpr int kMaxCode = 62;
  static constexpr bool kHasMin = false;
  static constexpr int kScaleLen = 32;

  struct [[gnu::packed]] Block {
    Half d;
    uint8_t indices[64];
    uint32_t signs_and_scales[8];
  };
  static_assert(sizeof(Block) == 98);

  STEELYARD_HD static void unpack(const Block& block, int g, Group& out) {
    const uint32_t signs_and_scale = block.signs_and_scales[g / 2];
    for (int k = 0; k < 2; ++k) {
      const uint8_t* pair = block.indices + 4 * g + 2 * k;
      const uint64_t magnitudes = grid()[pair[0]] | (static_cast<uint64_t>(grid()[pair[1]]) << 32);
      store_signed(magnitudes, even_signs((signs_and_scale >> (7 * (2 * (g % 2) + k))) & 127), out.q + 8 * k);
    }
    out.scale = scale_of(block.d, static_cast<int>(signs_and_scale >> 28));
    out.min = 0.0f;
  }

  STEELYARD_HD static void unpack(const Block* blocks, Span& out) {
    uint64_t sub_scales = 0;
    unrolled<4>([&]<int k>() {
      const uint8_t* indices = blocks->indices + 16 * k;
      const uint64_t words = read<uint64_t>(&blocks->signs_and_scales[2 * k]);
      const Bytes magnitudes = codewords(grid(), [&](int i) { return indices[i]; });
      out.codes[k] = negate_where(magnitudes, eight_signs(words));
      sub_scales |= steps_above_signs(words) << (16 * k);
    });
    out.scale = scales_of(blocks->d, twice(sub_scales));
  }

  static constexpr int kVectorDim = 8;
  static constexpr int kCodewords = 2;
  static constexpr int kIndexBits = 8;
  static constexpr Signs kSigns = Signs::kEven;
  static constexpr double kSubScaleUnit = 0.25;
  static constexpr float kTypicalLevel = 45.5f;
  static constexpr Levels kLevels = {8, 4.0f, 8.0f};
  STEELYARD_HD static const uint32_t* grid() { return iq3_xxs_grid(); }
  STEELYARD_HD static void pack(const Scales& scales, const uint32_t* codes, Block& block);
};

}  // namespace steelyard::formats::inline STEELYARD_TARGET
