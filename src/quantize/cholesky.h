// Cholesky's factor of a symmetric matrix in F64: R of a Hessian (hessian_factor.h) and what corrects targets
// (correction.h). The factor's bits are the same for any number of threads, on every instruction set and on devices.
#pragma once

#include "formats/device_encoder.h"
#include "quantize/matrix.h"

namespace steelyard::quantize {

/// Replaces the lower triangle of `a` by L, a = L L^T; only that triangle is read, and what is above it afterwards is
/// not defined. Returns false where a is not positive definite. `device` factors large matrices; null: the processor
/// does. Parallel inside.
bool cholesky(DoubleMatrix& a, formats::DeviceEncoder* device = nullptr);

/// Width of a matrix from which on a device is worth its transfer and its many small launches.
inline constexpr int64_t kLeastOnDevice = 1024;

}  // namespace steelyard::quantize
