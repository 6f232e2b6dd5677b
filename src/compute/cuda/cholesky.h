// Cholesky's factor on a device, block column by block column. Called by encoders.cc.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace steelyard::compute::cuda {

/// Replaces the lower triangle of a [n, n] in the device's memory by its factor. Sets *failed, a device's int that is 0
/// before, where a is not positive definite; the rest of the work is then without meaning.
cudaError_t cholesky(double* a, int64_t n, int* failed, cudaStream_t stream);

}  // namespace steelyard::compute::cuda
