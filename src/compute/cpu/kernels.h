// Inner loops of the CPU backend that are compiled once per target (kernels.simd.cc), and the table that picks
// one set at run time.
//
// Every kernel gives the same bits on every instruction set: lanes are fixed at 16 whatever the register width, sums go
// lane by lane, and nothing is contracted to FMA.
#pragma once

#include <cstdint>

#include "simd/target.h"

namespace steelyard::compute::cpu {

/// An activation with limits; see Activation.
struct LimitedKernels {
  void (*apply)(float* gate, const float* up, int64_t n, float limit, float up_limit);
  /// d[i], the gradient of the result, becomes that of gate[i]; dup[i] +=.
  void (*backward)(const float* gate, const float* up, float* d, float* dup, int64_t n, float limit, float up_limit);
};

struct Kernels {
  const char* target;  ///< the target that these were compiled for

  /// sum a[i] * b[i], i < n.
  float (*dot)(const float* a, const float* b, int64_t n);
  /// The largest of x [n], n > 0.
  float (*largest)(const float* x, int64_t n);
  /// x[i] = e^(x[i] - max), x[i] <= max; returns the sum.
  float (*exponentials)(float* x, int64_t n, float max);
  /// x[i] *= factor.
  void (*scale)(float* x, int64_t n, float factor);
  /// x[i] = cap tanh(x[i] / cap).
  void (*softcap)(float* x, int64_t n, float cap);
  /// gate[i] = activation(gate[i], up[i]); see Activation.
  void (*swiglu)(float* gate, const float* up, int64_t n);
  void (*geglu)(float* gate, const float* up, int64_t n);
  void (*clamped_swiglu)(float* gate, const float* up, int64_t n);
  /// d[i], the gradient of activation(gate[i], up[i]), becomes that of gate[i]; dup[i] +=.
  void (*swiglu_backward)(const float* gate, const float* up, float* d, float* dup, int64_t n);
  void (*geglu_backward)(const float* gate, const float* up, float* d, float* dup, int64_t n);
  void (*clamped_swiglu_backward)(const float* gate, const float* up, float* d, float* dup, int64_t n);
  LimitedKernels limited_swiglu, capped_swiglu, situ;
  /// These two have no limits, and relu_squared has no `up` either.
  LimitedKernels relu_squared, product;
  /// sums[i] += x[i]^2 in double.
  void (*add_squares)(const float* x, double* sums, int64_t n);
  /// out[i] += factor * x[i].
  void (*add_scaled)(const float* x, float factor, float* out, int64_t n);
};

/// The kernels of one target, which the processor must support.
const Kernels& kernels(simd::Target target);

}  // namespace steelyard::compute::cpu
