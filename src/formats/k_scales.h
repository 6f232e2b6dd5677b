// The 6-bit scales and minima of Q4_K and Q5_K: eight of each in 12 bytes.
//
//   bytes  0..3   byte k: scale k in bits 0..5, high 2 bits of scale k + 4 in bits 6..7
//   bytes  4..7   byte k: minimum k in bits 0..5, high 2 bits of minimum k + 4 in bits 6..7
//   bytes  8..11  byte k: low 4 bits of scale k + 4 in the low nibble, of minimum k + 4 in the high nibble
#pragma once

#include <cstdint>
#include <cstring>

#include "formats/group.h"
#include "simd/this_target.h"

namespace steelyard::inline STEELYARD_TARGET {

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

  /// All eight, each a byte of the result.
  STEELYARD_HD uint64_t scales() const {
    const auto [first, second, last] = words();
    return (first & 0x3F3F3F3Fu) | uint64_t{(last & 0x0F0F0F0Fu) | (first >> 2 & 0x30303030u)} << 32;
  }
  STEELYARD_HD uint64_t minima() const {
    const auto [first, second, last] = words();
    return (second & 0x3F3F3F3Fu) | uint64_t{(last >> 4 & 0x0F0F0F0Fu) | (second >> 2 & 0x30303030u)} << 32;
  }

  STEELYARD_HD int scale(int s) const {
    return s < 4 ? bytes[s] & 63 : (bytes[s + 4] & 15) | ((bytes[s - 4] >> 6) << 4);
  }
  STEELYARD_HD int minimum(int s) const {
    return s < 4 ? bytes[s + 4] & 63 : (bytes[s + 4] >> 4) | ((bytes[s] >> 6) << 4);
  }

 private:
  struct Words {
    uint32_t first, second, last;
  };
  STEELYARD_HD Words words() const {
    Words words;
    std::memcpy(&words, bytes, sizeof(words));
    return words;
  }
};

}  // namespace steelyard::inline STEELYARD_TARGET
