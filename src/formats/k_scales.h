// The 6-bit scales and minima of Q4_K and Q5_K: eight of each in 12 bytes.
//
//   bytes  0..3   byte k: scale k in bits 0..5, high 2 bits of scale k + 4 in bits 6..7
//   bytes  4..7   byte k: minimum k in bits 0..5, high 2 bits of minimum k + 4 in bits 6..7
//   bytes  8..11  byte k: low 4 bits of scale k + 4 in the low nibble, of minimum k + 4 in the high nibble
#pragma once

#include <cstdint>

#include "formats/group.h"
#include "formats/isa.h"

namespace steelyard::inline STEELYARD_ISA {

struct KScales {
  uint8_t bytes[12];

  static constexpr int kHigh = 63;

  /// Eight of each, 0..kHigh.
  STEELYARD_HD static KScales of(const uint8_t* scales, const uint8_t* minima) {
    KScales packed;
    for (int k = 0; k < 4; ++k) {
      packed.bytes[k] = static_cast<uint8_t>(scales[k] | (scales[k + 4] >> 4) << 6);
      packed.bytes[k + 4] = static_cast<uint8_t>(minima[k] | (minima[k + 4] >> 4) << 6);
      packed.bytes[k + 8] = static_cast<uint8_t>((scales[k + 4] & 15) | (minima[k + 4] & 15) << 4);
    }
    return packed;
  }

  STEELYARD_HD int scale(int s) const {
    return s < 4 ? bytes[s] & 63 : (bytes[s + 4] & 15) | ((bytes[s - 4] >> 6) << 4);
  }
  STEELYARD_HD int minimum(int s) const {
    return s < 4 ? bytes[s + 4] & 63 : (bytes[s + 4] >> 4) | ((bytes[s] >> 6) << 4);
  }
};

}  // namespace steelyard::inline STEELYARD_ISA
