// What kernels on rows of activations share: a block per row, whose threads take its columns in turn.
#pragma once

#include "compute/arguments.h"
#include "compute/cuda/device.h"
#include "compute/tensor.h"

namespace steelyard::compute::cuda {

inline constexpr unsigned kMaxThreads = 256;

/// Whole warps that suit a row of n values.
inline dim3 threads_for(int64_t n) {
  const auto warps = static_cast<unsigned>((n + kWarp - 1) / kWarp);
  return dim3((warps < 1 ? 1 : warps > kMaxThreads / kWarp ? kMaxThreads / kWarp : warps) * kWarp);
}

/// Blocks of `size` that cover n.
inline unsigned blocks_for(int64_t n, int64_t size) { return static_cast<unsigned>((n + size - 1) / size); }

/// The sum over all threads of a block, which all of them get, in an order that depends on their number alone.
__device__ __forceinline__ float block_sum(float value) {
  CUDA_SHARED(partial, float[kWarp]);
  const unsigned lane = threadIdx.x % kWarp, n_warps = blockDim.x / kWarp;
  value = warp_sum(value);
  __syncthreads();  // an earlier sum was read
  if (lane == 0) partial[threadIdx.x / kWarp] = value;
  __syncthreads();
  return warp_sum(lane < n_warps ? partial[lane] : 0.0f);
}

/// The same for the largest.
__device__ __forceinline__ float block_max(float value) {
  CUDA_SHARED(partial, float[kWarp]);
  const unsigned lane = threadIdx.x % kWarp, n_warps = blockDim.x / kWarp;
  value = warp_max(value);
  __syncthreads();
  if (lane == 0) partial[threadIdx.x / kWarp] = value;
  __syncthreads();
  return warp_max(partial[lane < n_warps ? lane : 0]);
}

__device__ __forceinline__ float sigmoid(float z) { return 1.0f / (1.0f + expf(-z)); }

/// ln(1 + e^z), without overflow.
__device__ __forceinline__ float softplus(float z) { return fmaxf(z, 0.0f) + log1pf(expf(-fabsf(z))); }

/// An Activation as kernels take it, of which there is one for all kinds. Numbers are wide, so that there is no
/// padding.
struct ActivationKind {
  int64_t kind;
  double limit, up_limit;

  __host__ __device__ explicit ActivationKind(const Activation& activation)
      : kind(activation.kind), limit(activation.limit), up_limit(activation.up_limit) {}

  __device__ bool reads_up() const { return kind != Activation::kReluSquared; }
};

/// x[r][c] = change(x[r][c], r, c).
template <class Change>
__global__ void __launch_bounds__(kMaxThreads) change_rows(Matrix x, Change change) {
  const int64_t r = blockIdx.x;
  for (int64_t c = threadIdx.x; c < x.cols; c += blockDim.x) {
    float& value = x.data[r * x.stride + c];
    value = change(value, r, c);
  }
}

template <class Change>
cudaError_t launch_change(Matrix x, Change change, cudaStream_t stream) {
  if (x.rows == 0) return cudaSuccess;
  return CUDA_LAUNCH((change_rows<Change>), dim3(static_cast<unsigned>(x.rows)), threads_for(x.cols), 0, stream, x,
                     change);
}

}  // namespace steelyard::compute::cuda
