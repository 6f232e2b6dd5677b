// Half warps on the device: the instructions that simd/half_warp.h declares, and their memory in common. Included by
// encoders.cuh, once per type, after the type's sources.
#pragma once

#include <algorithm>
#include <cstddef>

#include "compute/cuda/device.h"
#include "compute/cuda/encoders.h"
#include "formats/codec.h"
#include "formats/ldlq_inputs.h"
#include "simd/simd.h"

namespace steelyard::compute::cuda {

/// What the half warp that encodes a block of F, or rounds a row, has on its stack at most: tests on the emulator end
/// where that is too little. The halves of a warp are 16 banks of shared memory apart.
template <class F>
constexpr size_t common_bytes() {
  size_t search = sizeof(formats::NormalizedBlock) + 512;  // with what it has for a while
  if constexpr (requires { sizeof(typename F::template SearchOf<F>); }) {
    search = sizeof(typename F::template SearchOf<F>) + 1280;
  }
  constexpr size_t kLine = 128;
  const size_t block = F::kBlockLen * sizeof(float) + F::kBlockLen / F::kVectorDim * sizeof(uint32_t);
  const size_t all = simd::kCommonTops + formats::kPanelLen * sizeof(float) + block + search;
  return (all + kLine - 1) / kLine * kLine + kLine / 2;
}

/// Of the grid's half warps.
__device__ inline int64_t half_warp_number() {
  return (static_cast<int64_t>(blockIdx.x) * kEncodeThreads + threadIdx.x) / simd::kLanes;
}

inline dim3 grid_of_half_warps(int64_t n) {
  constexpr int64_t kOfBlock = kEncodeThreads / simd::kLanes;
  return {static_cast<unsigned>((n + kOfBlock - 1) / kOfBlock)};
}

struct alignas(16) CommonMemory {
  std::byte bytes[common_bytes<formats::STEELYARD_ENCODED>()];
};

#if CUDA_ARCH > 0
__device__ inline unsigned half_warp_mask() { return 0xFFFFu << (threadIdx.x & 16); }
#endif

}  // namespace steelyard::compute::cuda

namespace steelyard::simd::inline STEELYARD_TARGET {

// On the host, where nvcc compiles these functions too, nobody calls them.
#if CUDA_ARCH > 0
STEELYARD_HD inline int this_lane() { return static_cast<int>(threadIdx.x & 15); }
STEELYARD_HD inline void meet() { __syncwarp(compute::cuda::half_warp_mask()); }
STEELYARD_HD inline float from_lane(float value, int lane) {
  return __shfl_sync(compute::cuda::half_warp_mask(), value, lane, kLanes);
}
STEELYARD_HD inline float from_partner(float value, int step) {
  return __shfl_xor_sync(compute::cuda::half_warp_mask(), value, step, kLanes);
}
STEELYARD_HD inline uint32_t vote(bool own) {
  return __ballot_sync(compute::cuda::half_warp_mask(), own) >> (threadIdx.x & 16) & 0xFFFF;
}
STEELYARD_HD inline int least_of_lanes(int own) {
#if CUDA_ARCH >= 800
  return __reduce_min_sync(compute::cuda::half_warp_mask(), own);
#else
  for (int step = kLanes / 2; step > 0; step /= 2) {
    const int other = __shfl_xor_sync(compute::cuda::half_warp_mask(), own, step, kLanes);
    own = other < own ? other : own;
  }
  return own;
#endif
}
STEELYARD_HD inline int first_lane(uint32_t bits) { return __ffs(static_cast<int>(bits)) - 1; }
STEELYARD_HD inline std::byte* common_memory() {
  CUDA_SHARED(memory, compute::cuda::CommonMemory[compute::cuda::kEncodeThreads / kLanes]);
  return memory[threadIdx.x / kLanes].bytes;
}
STEELYARD_HD inline void check_common_memory(uint32_t top) {
  if (top > sizeof(compute::cuda::CommonMemory)) __trap();
}
#else
STEELYARD_HD inline int this_lane() { return 0; }
STEELYARD_HD inline void meet() {}
STEELYARD_HD inline float from_lane(float value, int) { return value; }
STEELYARD_HD inline float from_partner(float value, int) { return value; }
STEELYARD_HD inline uint32_t vote(bool own) { return own ? 1 : 0; }
STEELYARD_HD inline int least_of_lanes(int own) { return own; }
STEELYARD_HD inline int first_lane(uint32_t) { return 0; }
STEELYARD_HD inline std::byte* common_memory() { return nullptr; }
STEELYARD_HD inline void check_common_memory(uint32_t) {}
#endif

}  // namespace steelyard::simd::inline STEELYARD_TARGET
