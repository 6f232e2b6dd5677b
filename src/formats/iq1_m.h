// IQ1_M: 8 values share an 11-bit index into a codebook of ternary values and the sign of a shift by 1/8; a 3-bit scale
// per 16 values, under one half per 256 values.
//
//   bytes   0..31  low              uint8    low 8 bits of the index of vector v = 0..31
//   bytes  32..47  high_and_shifts  nibbles  vector v in byte v / 2, low nibble for even v: bits 0..2 the high bits
//                                            of its index, bit 3 set if its shift is negative
//   bytes  48..55  scales           uint16   word k: bits 3p .. 3p + 2 the scale s of sub-block 4k + p; bits 12..15 are
//                                            bits 4k .. 4k + 3 of d, the half that is the unit of the scales
//
// value = (d * (2 * s + 1)) * (ternary + shift), shift = +-1/8
// As a group: 8 * (ternary + shift) is an integer, and an eighth of the scale is exact.
#pragma once

#include "formats/codec.h"
#include "formats/grids.h"
#include "formats/search/codebook_encoder.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

struct IQ1_M : CodebookEncoder<IQ1_M> {
  static constexpr Type kType = Type::IQ1_M;
  static constexpr int kBlockLen = 256;
  static constexpr Importance kImportance = Importance::kRequired;
  static constexpr std::optional<Type> kFallback = Type::IQ4_NL;
  static constexpr int kMaxCode = 9;
  static constexpr bool kHasMin = false;
  static constexpr int kScaleLen = 16;

  struct [[gnu::packed]] Block {
    uint8_t low[32];
    uint8_t high_and_shifts[16];
    uint16_t scales[4];
  };
  static_assert(sizeof(Block) == 56);

  STEELYARD_HD static Half read_d(const Block& block) {
    uint32_t bits = 0;
    for (int k = 0; k < 4; ++k) bits |= static_cast<uint32_t>(block.scales[k] >> 12) << (4 * k);
    return {static_cast<uint16_t>(bits)};
  }

  STEELYARD_HD static void write_d(Half d, Block& block) {
    for (int k = 0; k < 4; ++k) {
      block.scales[k] = static_cast<uint16_t>((block.scales[k] & 0x0FFFu) | (d.bits >> (4 * k) & 15u) << 12);
    }
  }

  static constexpr int kStoredScales = 1;
  STEELYARD_HD static void read_scales(const Block& block, float* scales) { *scales = to_float(read_d(block)); }
  STEELYARD_HD static void write_scales(const float* scales, Block& block) { write_d(finite_half(*scales), block); }

  STEELYARD_HD static void unpack(const Block& block, int g, Group& out) {
    for (int k = 0; k < 2; ++k) {
      const uint32_t high_and_shift = block.high_and_shifts[g] >> (4 * k);
      const int shift = (high_and_shift & 8u) != 0 ? -1 : 1;
      store_iq1(grid()[block.low[2 * g + k] | ((high_and_shift & 7u) << 8)], shift, out.q + 8 * k);
    }
    const int scale = (block.scales[g / 4] >> (3 * (g % 4))) & 7;
    out.scale = scale_of(read_d(block), scale);
    out.min = 0.0f;
  }

  STEELYARD_HD static void unpack(const Block* blocks, Span& out) {
    unrolled<4>([&]<int k>() {
      const uint8_t* low = blocks->low + 8 * k;
      const uint64_t nibbles = read<uint32_t>(blocks->high_and_shifts + 4 * k);
      const Bytes ternary = codewords(grid(), [&](int i) { return low[i] | (nibbles << 8 >> (4 * i) & 0x700); });
      const Bytes is_negative =
          any_bits(nibbles, {{1u << 3, 1u << 7, 1u << 11, 1u << 15, 1u << 19, 1u << 23, 1u << 27, 1u << 31}});
      out.codes[k] = shifted_eighths(ternary, is_negative);
    });
    const auto words = read<uint64_t>(blocks->scales);
    const auto sub_scales = [](uint64_t two) {  // the four fields of each of two words, as bytes
      const uint64_t x = (two & 0xFFF) | (two & 0xFFF0000) << 16;
      constexpr uint64_t kEach = 0x0000000100000001u;
      return (x & 7 * kEach) | (x & 0x38 * kEach) << 5 | (x & 0x1C0 * kEach) << 10 | (x & 0xE00 * kEach) << 15;
    };
    const uint64_t d =
        (words >> 12 & 15) | (words >> 24 & 15 << 4) | (words >> 36 & 15 << 8) | (words >> 48 & 15 << 12);
    out.scale = scales_of(Half{static_cast<uint16_t>(d)},
                          make_sub_scales(sub_scales(words & 0xFFFFFFFF), sub_scales(words >> 32)));
  }

  static constexpr int kVectorDim = 8;
  static constexpr int kIndexBits = 11;
  static constexpr Signs kSigns = Signs::kShifted;
  static constexpr int kSubScaleLevels = 8;
  static constexpr double kSubScaleUnit = 0.125;
  static constexpr float kTypicalLevel = 9.4f;
  static constexpr Levels kLevels = {3, -8.0f, 8.0f};
  STEELYARD_HD static const uint64_t* grid() { return iq1_grid(); }
  STEELYARD_HD static void pack(const Scales& scales, const uint32_t* codes, Block& block);
};

}  // namespace steelyard::formats::inline STEELYARD_TARGET
