// What Q4_K and Q5_K have before their codes: 6-bit scales and minima of eight sub-blocks, under two halves.
//
//   bytes   0..1   d      half  unit of the scales
//   bytes   2..3   d_min  half  unit of the minima
//   bytes   4..7   byte k: scale k in bits 0..5, high 2 bits of scale k + 4 in bits 6..7
//   bytes   8..11  byte k: minimum k in bits 0..5, high 2 bits of minimum k + 4 in bits 6..7
//   bytes  12..15  byte k: low 4 bits of scale k + 4 in the low nibble, of minimum k + 4 in the high nibble
#pragma once

#include <cstdint>
#include <cstring>

#include "base/half.h"
#include "formats/group.h"
#include "formats/search/affine_encoder.h"
#include "formats/span.h"
#include "simd/this_target.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

struct [[gnu::packed]] KScales {
  Half d;
  Half d_min;
  uint8_t bytes[12];

  static constexpr int kHigh = 63;

  STEELYARD_HD static KScales pack(const AffineScales& all) {
    const uint8_t *scales = all.scale, *minima = all.minimum;
    KScales packed = {all.d, all.d_min, {}};
    for (int k = 0; k < 4; ++k) {
      packed.bytes[k] = static_cast<uint8_t>(scales[k] | (scales[k + 4] >> 4) << 6);
      packed.bytes[k + 4] = static_cast<uint8_t>(minima[k] | (minima[k + 4] >> 4) << 6);
      packed.bytes[k + 8] = static_cast<uint8_t>((scales[k + 4] & 15) | (minima[k + 4] & 15) << 4);
    }
    return packed;
  }

  /// Scale and minimum of sub-block s, and those of all groups of 16.
  STEELYARD_HD void unpack(int s, Group& out) const {
    out.scale = to_float(d) * static_cast<float>(scale(s));
    out.min = to_float(d_min) * static_cast<float>(minimum(s));
  }
  STEELYARD_HD void unpack(Span& out) const {
    out.scale = to_floats(twice(scales())) * broadcast_half(d);
    out.min = to_floats(twice(minima())) * broadcast_half(d_min);
  }

  STEELYARD_HD int scale(int s) const {
    return s < 4 ? bytes[s] & 63 : (bytes[s + 4] & 15) | ((bytes[s - 4] >> 6) << 4);
  }
  STEELYARD_HD int minimum(int s) const {
    return s < 4 ? bytes[s + 4] & 63 : (bytes[s + 4] >> 4) | ((bytes[s] >> 6) << 4);
  }

 private:
  /// All eight, each a byte of the result.
  STEELYARD_HD uint64_t scales() const {
    const auto [first, second, last] = words();
    return (first & 0x3F3F3F3Fu) | uint64_t{(last & 0x0F0F0F0Fu) | (first >> 2 & 0x30303030u)} << 32;
  }
  STEELYARD_HD uint64_t minima() const {
    const auto [first, second, last] = words();
    return (second & 0x3F3F3F3Fu) | uint64_t{(last >> 4 & 0x0F0F0F0Fu) | (second >> 2 & 0x30303030u)} << 32;
  }

  struct Words {
    uint32_t first, second, last;
  };
  STEELYARD_HD Words words() const {
    Words words;
    std::memcpy(&words, bytes, sizeof(words));
    return words;
  }
};

}  // namespace steelyard::formats::inline STEELYARD_TARGET
