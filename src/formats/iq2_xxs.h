// IQ2_XXS: 8 values share an 8-bit index into a codebook of magnitudes and 7 bits of signs; a 4-bit scale per 32
// values, under one half per 256 values.
//
//   bytes  0..1   d           half     unit of the scales
//   bytes  2..65  sub_blocks  8 bytes  for each 32 values: 4 bytes index, byte k for vector k; then one uint32,
//                                      bits 7k .. 7k + 6 the signs of vector k, bits 28..31 the scale s
//
// value = (d * (0.5 + s) * 0.25) * (+-magnitude)
// The eighth sign makes the number of minus signs even.
#pragma once

#include "formats/codec.h"
#include "formats/grids.h"
#include "formats/search/codebook_encoder.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

struct IQ2_XXS : CodebookEncoder<IQ2_XXS> {
  static constexpr Type kType = Type::IQ2_XXS;
  static constexpr int kBlockLen = 256;
  static constexpr Importance kImportance = Importance::kRequired;
  static constexpr std::optional<Type> kFallback = Type::IQ4_NL;
  static constexpr int kMaxCode = 43;
  static constexpr bool kHasMin = false;
  static constexpr int kScaleLen = 32;

  struct [[gnu::packed]] Block {
    Half d;
    struct [[gnu::packed]] {
      uint8_t indices[4];
      uint32_t signs_and_scale;
    } sub_blocks[8];
  };
  static_assert(sizeof(Block) == 66);

  STEELYARD_HD static void unpack(const Block& block, int g, Group& out) {
    const auto& sub_block = block.sub_blocks[g / 2];
    const uint32_t signs_and_scale = sub_block.signs_and_scale;
    for (int k = 0; k < 2; ++k) {
      const int codeword = 2 * (g % 2) + k;
      store_signed(grid()[sub_block.indices[codeword]], even_signs((signs_and_scale >> (7 * codeword)) & 127),
                   out.q + 8 * k);
    }
    out.scale = scale_of(block.d, static_cast<int>(signs_and_scale >> 28));
    out.min = 0.0f;
  }

  STEELYARD_HD static void unpack(const Block* blocks, Span& out) {
    uint64_t sub_scales = 0;
    unrolled<4>([&]<int k>() {
      const auto &first = blocks->sub_blocks[2 * k], &second = blocks->sub_blocks[2 * k + 1];
      const uint64_t words = first.signs_and_scale | uint64_t{second.signs_and_scale} << 32;
      const Bytes magnitudes =
          codewords(grid(), [&](int i) { return i < 4 ? first.indices[i] : second.indices[i - 4]; });
      out.codes[k] = negate_where(magnitudes, eight_signs(words));
      sub_scales |= steps_above_signs(words) << (16 * k);
    });
    out.scale = scales_of(blocks->d, twice(sub_scales));
  }

  static constexpr int kVectorDim = 8;
  static constexpr int kIndexBits = 8;
  static constexpr Signs kSigns = Signs::kEven;
  static constexpr double kSubScaleUnit = 0.125;
  static constexpr float kTypicalLevel = 37.0f;
  static constexpr Levels kLevels = {3, 8.0f, 17.5f};
  STEELYARD_HD static const uint64_t* grid() { return iq2_xxs_grid(); }
  STEELYARD_HD static void pack(const Scales& scales, const uint32_t* codes, Block& block);
};

}  // namespace steelyard::formats::inline STEELYARD_TARGET
