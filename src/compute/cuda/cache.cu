// Writes keys and values into the cache: a thread per block of a row.
#include "compute/cuda/cache.cuh"
#include "compute/cuda/operations.h"

namespace steelyard::compute::cuda {
namespace {

constexpr unsigned kThreads = 128;

__device__ void encode(const float* x, formats::F32::Block& block) { block.value = *x; }
__device__ void encode(const float* x, formats::F16::Block& block) {
  block.half = {__half_as_ushort(__float2half_rn(*x))};
}
__device__ void encode(const float* x, formats::BF16::Block& block) {
  block.bfloat = {__bfloat16_as_ushort(__float2bfloat16_rn(*x))};
}

// The value of largest magnitude, with its sign.
__device__ float extreme(const float* x, int n) {
  float largest = 0;
  for (int i = 0; i < n; ++i) {
    if (fabsf(x[i]) > fabsf(largest)) largest = x[i];
  }
  return largest;
}

// Codes nearest under the scale as it is stored.
__device__ float inverse_of(Half d) {
  const float scale = to_float(d);
  return scale != 0.0f ? 1.0f / scale : 0.0f;
}

__device__ void encode(const float* x, formats::Q8_0::Block& block) {
  block.d = {__half_as_ushort(__float2half_rn(fabsf(extreme(x, formats::Q8_0::kBlockLen)) / 127.0f))};
  const float inverse = inverse_of(block.d);
  for (int i = 0; i < formats::Q8_0::kBlockLen; ++i) {
    block.codes[i] = static_cast<int8_t>(fmaxf(-127.0f, fminf(rintf(x[i] * inverse), 127.0f)));
  }
}

// The extreme value gets the level -8, which has no positive counterpart.
__device__ void encode(const float* x, formats::Q4_0::Block& block) {
  block.d = {__half_as_ushort(__float2half_rn(extreme(x, formats::Q4_0::kBlockLen) / -8.0f))};
  const float inverse = inverse_of(block.d);
  const auto code = [&](int i) {
    return static_cast<uint8_t>(fmaxf(0.0f, fminf(rintf(x[i] * inverse) + 8.0f, 15.0f)));
  };
  for (int i = 0; i < 16; ++i) block.codes[i] = static_cast<uint8_t>(code(i) | code(i + 16) << 4);
}

template <class F>
__global__ void __launch_bounds__(kThreads) store_blocks(Matrix from, std::byte* to, int64_t stride) {
  const float* x = from.data + blockIdx.x * from.stride;
  auto* blocks = reinterpret_cast<typename F::Block*>(to + blockIdx.x * stride);
  for (int64_t b = threadIdx.x; b < from.cols / F::kBlockLen; b += blockDim.x) encode(x + b * F::kBlockLen, blocks[b]);
}

}  // namespace

bool is_cache_type(formats::Type type) { return contains(CacheTypes(), type); }

cudaError_t store(Matrix from, TypedRows to, cudaStream_t stream) {
  cudaError_t error = cudaSuccess;
  if (from.rows == 0) return error;
  const bool known = for_type(CacheTypes(), to.format->type, [&]<class F>() {
    error = CUDA_LAUNCH((store_blocks<F>), dim3(static_cast<unsigned>(from.rows)), dim3(kThreads), 0, stream, from,
                        to.data, to.stride);
  });
  return known ? error : cudaErrorInvalidValue;
}

}  // namespace steelyard::compute::cuda
