// The 6-bit scales and minima of Q4_K and Q5_K: eight of each in 12 bytes.
//
//   bytes  0..3   byte k: scale k in bits 0..5, high 2 bits of scale k + 4 in bits 6..7
//   bytes  4..7   byte k: minimum k in bits 0..5, high 2 bits of minimum k + 4 in bits 6..7
//   bytes  8..11  byte k: low 4 bits of scale k + 4 in the low nibble, of minimum k + 4 in the high nibble
#pragma once

#include <cstdint>

#include "formats/group.h"

namespace steelyard {

struct KScales {
  uint8_t bytes[12];

  /// Stores scale and minimum (0..63) of sub-block `s` in bytes that were zero.
  void set(int s, int scale, int minimum) {
    if (s < 4) {
      bytes[s] |= static_cast<uint8_t>(scale);
      bytes[s + 4] |= static_cast<uint8_t>(minimum);
    } else {
      bytes[s + 4] |= static_cast<uint8_t>((scale & 15) | (minimum & 15) << 4);
      bytes[s - 4] |= static_cast<uint8_t>((scale >> 4) << 6);
      bytes[s] |= static_cast<uint8_t>((minimum >> 4) << 6);
    }
  }

  STEELYARD_HD int scale(int s) const {
    return s < 4 ? bytes[s] & 63 : (bytes[s + 4] & 15) | ((bytes[s - 4] >> 6) << 4);
  }
  STEELYARD_HD int minimum(int s) const {
    return s < 4 ? bytes[s + 4] & 63 : (bytes[s + 4] >> 4) | ((bytes[s] >> 6) << 4);
  }
};

}  // namespace steelyard
