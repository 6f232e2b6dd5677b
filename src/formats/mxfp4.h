// MXFP4: E2M1 floats, a power of two as scale per 32 values (OCP Microscaling Formats 1.0).
//
//   bytes  0      exponent  E8M0     scale 2^(exponent - 127); 255 is no NaN here but 2^128
//   bytes  1..16  codes     nibbles  low nibble of byte i: value i; high nibble: value i + 16
//
// value = 2^(exponent - 128) * e2m1_doubled()[code]
#pragma once

#include "formats/codec.h"
#include "formats/grids.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

struct MXFP4 {
  static constexpr Type kType = Type::MXFP4;
  static constexpr int kBlockLen = 32;
  static constexpr Importance kImportance = Importance::kUsed;
  static constexpr std::optional<Type> kFallback = Type::F16;
  static constexpr int kMaxCode = 12;
  static constexpr bool kHasMin = false;
  static constexpr int kScaleLen = 32;

  struct [[gnu::packed]] Block {
    uint8_t exponent;
    uint8_t codes[16];
  };
  static_assert(sizeof(Block) == 17);

  /// 2^(e - 128) from the bits of a float; the two smallest are subnormal.
  STEELYARD_HD static constexpr float half_scale(uint32_t e) {
    return std::bit_cast<float>(e < 2 ? 0x00200000u << e : (e - 1) << 23);
  }

  /// The scale of every exponent, twice, as bits.
  STEELYARD_HD static const uint64_t* scales_twice() {
    static constexpr auto kScales = [] {
      Grid<uint64_t, 256> scales = {};
      for (uint32_t e = 0; e < 256; ++e) scales.codewords[e] = std::bit_cast<uint32_t>(half_scale(e)) * 0x100000001u;
      return scales;
    }();
    return kScales.codewords;
  }

  STEELYARD_HD static void unpack(const Block& block, int g, Group& out) {
    const int8_t* values = e2m1_doubled();
    for (int i = 0; i < kGroupLen; ++i) {
      out.q[i] = values[(block.codes[i] >> (4 * g)) & 15];
    }
    out.scale = half_scale(block.exponent);
    out.min = 0.0f;
  }

  STEELYARD_HD static void unpack(const Block* blocks, Span& out) {
    for (int k = 0; k < 4; ++k) {
      out.codes[k] = look_up(e2m1_doubled(), nibbles<sizeof(Block)>(blocks[2 * k].codes));
    }
    out.scale = as_floats(codewords(scales_twice(), [&](int i) { return blocks[i].exponent; }));
  }

  static constexpr int kVectorDim = 1;
  struct Scales {
    uint8_t exponent;
  };
  STEELYARD_HD static Scales fit(const float* x, const float* w, Effort effort, uint32_t* codes);
  STEELYARD_HD static uint32_t round(const float* x, const float* w, const Scales& scales, int position, float* values);
  STEELYARD_HD static void refit(const float* x, const float* w, const uint32_t* codes, Scales& scales);
  STEELYARD_HD static void pack(const Scales& scales, const uint32_t* codes, Block& block);
};

}  // namespace steelyard::formats::inline STEELYARD_TARGET
