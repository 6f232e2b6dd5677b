// IQ1_S: 8 values share an 11-bit index into a codebook of ternary values; a 3-bit scale and the sign of a shift by 1/8
// per 32 values, under one half per 256 values.
//
//   bytes   0..1   d                half    unit of the scales
//   bytes   2..33  low              uint8   low 8 bits of the index of vector v = 0..31
//   bytes  34..49  high_and_scales  uint16  for each 32 values: bits 3k .. 3k + 2 the high 3 bits of index k,
//                                           bits 12..14 the scale s, bit 15 set if the shift is negative
//
// value = (d * (2 * s + 1)) * (ternary + shift), shift = +-1/8
// As a group: 8 * (ternary + shift) is an integer, and an eighth of the scale is exact.
#pragma once

#include "formats/codec.h"
#include "formats/grids.h"
#include "formats/search/codebook_encoder.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

struct IQ1_S : CodebookEncoder<IQ1_S> {
  static constexpr Type kType = Type::IQ1_S;
  static constexpr int kBlockLen = 256;
  static constexpr Importance kImportance = Importance::kRequired;
  static constexpr std::optional<Type> kFallback = Type::IQ4_NL;
  static constexpr int kMaxCode = 9;
  static constexpr bool kHasMin = false;
  static constexpr int kScaleLen = 32;

  struct [[gnu::packed]] Block {
    Half d;
    uint8_t low[32];
    uint16_t high_and_scales[8];
  };
  static_assert(sizeof(Block) == 50);

  STEELYARD_HD static void unpack(const Block& block, int g, Group& out) {
    const uint32_t high_and_scale = block.high_and_scales[g / 2];
    const int shift = (high_and_scale & 0x8000u) != 0 ? -1 : 1;
    for (int k = 0; k < 2; ++k) {
      const int position = 2 * (g % 2) + k;
      const uint32_t high = (high_and_scale >> (3 * position)) & 7u;
      store_iq1(grid()[block.low[2 * g + k] | (high << 8)], shift, out.q + 8 * k);
    }
    out.scale = scale_of(block.d, static_cast<int>((high_and_scale >> 12) & 7u));
    out.min = 0.0f;
  }

  STEELYARD_HD static void unpack(const Block* blocks, Span& out) {
    unrolled<4>([&]<int k>() {
      const uint8_t* low = blocks->low + 8 * k;
      const uint64_t words = read<uint32_t>(&blocks->high_and_scales[2 * k]);
      const Bytes ternary =
          codewords(grid(), [&](int i) { return low[i] | (words << 8 >> (i < 4 ? 3 * i : 3 * i + 4) & 0x700); });
      constexpr uint64_t kFirst = 1u << 15, kSecond = 1u << 31;
      const Bytes is_negative = any_bits(words, {{kFirst, kFirst, kFirst, kFirst, kSecond, kSecond, kSecond, kSecond}});
      out.codes[k] = shifted_eighths(ternary, is_negative);
    });
    const SubScales words = read<SubScales>(blocks->high_and_scales);
    const auto in_each_word = [](uint64_t mask) {
      return make_sub_scales(mask * 0x1000100010001u, mask * 0x1000100010001u);
    };
    const SubScales sub_scales =
        (shift_right(words, 12) & in_each_word(7)) | (shift_right(words, 4) & in_each_word(7 << 8));
    out.scale = scales_of(blocks->d, sub_scales);
  }

  static constexpr int kVectorDim = 8;
  static constexpr int kIndexBits = 11;
  static constexpr Signs kSigns = Signs::kShifted;
  static constexpr int kVariants = 2;
  static constexpr int kSubScaleLevels = 8;
  static constexpr double kSubScaleUnit = 0.125;
  static constexpr float kTypicalLevel = 9.9f;
  static constexpr Levels kLevels = {3, -8.0f, 8.0f};
  STEELYARD_HD static const uint64_t* grid() { return iq1_grid(); }
  STEELYARD_HD static void pack(const Scales& scales, const uint32_t* codes, Block& block);
};

}  // namespace steelyard::formats::inline STEELYARD_TARGET
