// What is known of the first factor of a product of bytes. The same for every target.
//
// x86 multiplies a byte without sign by one with sign. So codes get a bias that makes them positive, which a caller who
// knows the sums of the other factor takes off: sums of q x are those of (q + bias) x, less bias times the sums of x.
// The less a biased code can be, the more products AVX2 adds up before they need 32 bits.
#pragma once

#include "simd/host_device.h"

namespace steelyard::simd {

enum class Factor {
  kUnsigned,  ///< codes 0 .. 32, without a bias
  kTiny,      ///< -16 .. 16
  kSmall,     ///< -63 .. 63
  kByte,      ///< -128 .. 127
};

/// The smallest factor for codes up to `most` in magnitude, and without sign or with.
constexpr Factor factor_of(int most, bool is_unsigned) {
  return is_unsigned ? Factor::kUnsigned : most <= 16 ? Factor::kTiny : most <= 63 ? Factor::kSmall : Factor::kByte;
}

/// What is added to codes; `of_byte` is the target's choice for bytes, which it may also multiply with their signs.
STEELYARD_HD constexpr int bias_of(Factor factor, int of_byte) {
  switch (factor) {
    case Factor::kUnsigned:
      return 0;
    case Factor::kTiny:
      return 16;
    case Factor::kSmall:
      return 64;
    default:
      return of_byte;
  }
}

}  // namespace steelyard::simd
