// Floats as integers with a common scale, for the products of integers. Included only by *.simd.cc.
#pragma once

#include "simd/simd.h"

namespace steelyard::compute::cpu::STEELYARD_TARGET {

/// The nearest integers, where |x| < 2^22: adding 1.5 * 2^23 leaves them in the low bits.
inline Ints rounded(const Floats& x) {
  const Floats shifted = x + 12582912.0f;
  return read<Ints>(&shifted) - 0x4B400000;
}

/// value = scale * code and code = inverse * value.
struct CodeScale {
  float scale, inverse;
};

/// For n values whose codes range from -levels to levels. For non-finite values the scale is NaN, and so is every
/// product with the values.
template <int n>
inline CodeScale code_scale(const float* x, float levels) {
  Floats most = {};
  for (int i = 0; i < n; i += kLanes) most = absolute_maximum(load(x + i), most);
  const float of = largest_magnitude(most);
  // A non-finite value minus itself is NaN. Below 1e-30 the quotient could overflow.
  return {of / levels + (of - of), of > 1e-30f ? levels / of : 0.0f};
}

}  // namespace steelyard::compute::cpu::STEELYARD_TARGET
