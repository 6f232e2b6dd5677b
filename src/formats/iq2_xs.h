// IQ2_XS: 8 values share a 9-bit index into a codebook of magnitudes and 7 bits of signs; a 4-bit scale per 16
// values, under one half per 256 values.
//
//   bytes   0..1   d        half     unit of the scales
//   bytes   2..65  vectors  uint16   vector v = 0..31: bits 0..8 the index, bits 9..15 the signs
//   bytes  66..73  scales   nibbles  scale s of sub-block b: low nibble of byte b / 2 for even b, high for odd
//
// value = (d * (0.5 + s) * 0.25) * (+-magnitude)
// The eighth sign makes the number of minus signs even.
#pragma once

#include "formats/codec.h"
#include "formats/grids.h"
#include "formats/search/codebook_encoder.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

struct IQ2_XS : CodebookEncoder<IQ2_XS> {
  static constexpr Type kType = Type::IQ2_XS;
  static constexpr int kBlockLen = 256;
  static constexpr Importance kImportance = Importance::kRequired;
  static constexpr std::optional<Type> kFallback = Type::IQ4_NL;
  static constexpr int kMaxCode = 43;
  static constexpr bool kHasMin = false;
  static constexpr int kScaleLen = 16;

  struct [[gnu::packed]] Block {
    Half d;
    uint16_t vectors[32];
    uint8_t scales[8];
  };
  static_assert(sizeof(Block) == 74);

  STEELYARD_HD static void unpack(const Block& block, int g, Group& out) {
    for (int k = 0; k < 2; ++k) {
      const uint16_t codeword = block.vectors[2 * g + k];
      store_signed(grid()[codeword & 511], even_signs(codeword >> 9), out.q + 8 * k);
    }
    const int scale = (block.scales[g / 2] >> (4 * (g % 2))) & 15;
    out.scale = scale_of(block.d, scale);
    out.min = 0.0f;
  }

  STEELYARD_HD static void unpack(const Block* blocks, Span& out) {
    unrolled<4>([&]<int k>() {
      const uint16_t* vectors = blocks->vectors + 8 * k;
      const Bytes magnitudes = codewords(grid(), [&](int i) { return vectors[i] & 511; });
      // The 7 bits of eight words side by side: vectors 0, 4, 1, 5, ..., then in order.
      constexpr uint64_t kEven = 0x00FF00FF00FF00FFu;
      const uint64_t mixed = with_parity((read<uint64_t>(vectors) >> 9 & kEven / 255 * 127) |
                                         (read<uint64_t>(vectors + 4) >> 1 & kEven / 255 * 127 << 8));
      out.codes[k] = negate_where(magnitudes, even_bytes(mixed & kEven) | even_bytes(mixed >> 8 & kEven) << 32);
    });
    out.scale = scales_of(blocks->d, nibble_sub_scales(read<uint64_t>(blocks->scales)));
  }

  static constexpr int kVectorDim = 8;
  static constexpr int kIndexBits = 9;
  static constexpr Signs kSigns = Signs::kEven;
  static constexpr double kSubScaleUnit = 0.125;
  static constexpr float kTypicalLevel = 36.1f;
  static constexpr Levels kLevels = {3, 8.0f, 17.5f};
  STEELYARD_HD static const uint64_t* grid() { return iq2_xs_grid(); }
  STEELYARD_HD static void pack(const Scales& scales, const uint32_t* codes, Block& block);
};

}  // namespace steelyard::formats::inline STEELYARD_TARGET
