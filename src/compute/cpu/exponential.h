// The exponential function and functions based on it, for the kernels that are compiled once per target. Works on
// compiler vectors of any width and on single values, with the same bits for each lane.
#pragma once

#include "compute/cpu/verbs.h"

namespace steelyard::compute::cpu::STEELYARD_TARGET {
namespace {

// F is float or a vector of floats, U unsigned of the same shape.

// e^x for x <= 0 (anything below -87 gives 0): x = n ln2 + r, |r| <= ln2 / 2, e^r by its Taylor polynomial of degree 7
// (relative error below 1e-7), 2^n by the exponent bits. Works on vectors and on one value. U is unsigned, because far
// below -87 the exponent wraps around.
template <typename F, typename U>
inline F exp_nonpositive(F x) {
  const F magic = F{} + 12582912.0f;  // 1.5 * 2^23: adding it leaves the rounded integer in the low mantissa bits
  const F shifted = x * 1.44269504f + magic;
  const F n = shifted - magic;
  const F r = (x - n * 0.693359375f) - n * -2.12194440e-4f;  // ln2 in two parts
  F p = r * (1.0f / 5040) + (1.0f / 720);
  p = p * r + (1.0f / 120);
  p = p * r + (1.0f / 24);
  p = p * r + (1.0f / 6);
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  U bits;
  __builtin_memcpy(&bits, &shifted, sizeof(bits));
  const U exponent = (bits - 0x4B400000 + 127) << 23;
  F power;
  __builtin_memcpy(&power, &exponent, sizeof(power));
  return x < -87.0f ? F{} : p * power;
}

// z / (1 + e^-u), for any u without overflow: with a = e^-|u| that is z / (1 + a) for u >= 0 and z a / (1 + a) below.
template <typename F, typename U>
inline F times_sigmoid(F z, F u) {
  const F negative = u < 0.0f ? u : -u;
  const F a = exp_nonpositive<F, U>(negative);
  return (u < 0.0f ? z * a : z) / (1.0f + a);
}

// tanh(x), for any x: with e = e^-2|x| that is (1 - e) / (1 + e) with the sign of x. Near 0, where 1 - e would lose
// bits, its Taylor polynomial.
template <typename F, typename U>
inline F tanh(F x) {
  const F size = x < 0.0f ? -x : x, square = x * x;
  const F e = exp_nonpositive<F, U>(-2.0f * size);
  F near = square * (62.0f / 2835) + (-17.0f / 315);
  near = near * square + (2.0f / 15);
  near = near * square + (-1.0f / 3);
  near = (near * square + 1.0f) * size;
  const F result = size < 0.25f ? near : (1.0f - e) / (1.0f + e);
  return x < 0.0f ? -result : result;
}

}  // namespace
}  // namespace steelyard::compute::cpu::STEELYARD_TARGET
