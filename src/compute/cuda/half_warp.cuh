// Half warps on the device: the instructions that simd/half_warp.h declares, and the memory that their lanes have in
// common. Included by encoders.cuh, once per type, after the type's sources.
//
// That memory is the launch's dynamic shared memory. It begins with two words for each thread, where its half warp's
// stack ends now and where it must end; then come the stacks.
#pragma once

#include <cstddef>

#include "compute/cuda/books.cuh"
#include "compute/cuda/device.h"
#include "compute/cuda/encoders.h"
#include "formats/codec.h"
#include "formats/ldlq_inputs.h"
#include "formats/search/codebook_search.h"
#include "simd/simd.h"

namespace steelyard::compute::cuda {

inline constexpr int kHalfWarps = kEncodeThreads / simd::kLanes;  ///< of a launch's block
inline constexpr size_t kStackWords = 2 * kEncodeThreads * sizeof(uint32_t);

/// What a half warp that encodes a block of F has on its stack at most, or with `panel_bytes` more one that rounds a
/// row: kernels end where that is too little, as tests on the emulator would show. The halves of a warp are 16 banks of
/// shared memory apart.
template <class F>
STEELYARD_HD constexpr size_t stack_bytes(formats::Effort effort, size_t panel_bytes) {
  constexpr size_t kBlock = F::kBlockLen * sizeof(float) + F::kBlockLen / F::kVectorDim * sizeof(uint32_t);
  size_t search = sizeof(formats::NormalizedBlock) + 512;  // with what it has for a while
  if constexpr (requires { typename F::template SearchOf<F>; }) {
    using Search = typename F::template SearchOf<F>;
    search = sizeof(Search) + 1536;
    if constexpr (HasCodebook<F>) search = Search::used_bytes(nullptr, nullptr, formats::codebook_budget(effort)) + 768;
  }
  constexpr size_t kLine = 128;
  return (panel_bytes + kBlock + search + kLine - 1) / kLine * kLine + kLine / 2;
}
template <class F>
STEELYARD_HD constexpr size_t stack_bytes_of_rows(formats::Effort effort) {
  constexpr size_t kOfDescent = 5 * F::kBlockLen * sizeof(float) + 512;
  const size_t rounding = stack_bytes<F>(effort, formats::kPanelLen * sizeof(float));
  const size_t descent = kOfDescent + formats::kPanelLen * sizeof(float) + 64;
  return rounding > descent ? rounding : (descent + 127) / 128 * 128 + 64;
}

/// Dynamic shared memory of a launch's block.
inline size_t shared_bytes(size_t stack) { return kStackWords + kHalfWarps * stack; }

/// Of the grid's half warps.
__device__ inline int64_t half_warp_number() {
  return (static_cast<int64_t>(blockIdx.x) * kEncodeThreads + threadIdx.x) / simd::kLanes;
}

inline dim3 grid_of_half_warps(int64_t n) { return {static_cast<unsigned>((n + kHalfWarps - 1) / kHalfWarps)}; }

__device__ inline unsigned half_warp_mask() { return 0xFFFFu << (threadIdx.x & 16); }

__device__ inline std::byte* block_memory() {
  CUDA_DYNAMIC_SHARED(std::byte, memory);
  return memory;
}
/// The words of this thread.
__device__ inline uint32_t* stack_words() { return reinterpret_cast<uint32_t*>(block_memory()) + 2 * threadIdx.x; }

/// Called by all threads that go on, before their first Common.
__device__ inline void empty_stack(size_t stack) {
  const auto first = static_cast<uint32_t>(kStackWords + threadIdx.x / simd::kLanes * stack);
  stack_words()[0] = first;
  stack_words()[1] = first + static_cast<uint32_t>(stack);
}

}  // namespace steelyard::compute::cuda

// On the host, where nvcc compiles these functions too, nobody calls them.
#if CUDA_ARCH > 0
STEELYARD_HD inline int steelyard::simd::this_lane() { return static_cast<int>(threadIdx.x & 15); }
STEELYARD_HD inline void steelyard::simd::meet() { __syncwarp(compute::cuda::half_warp_mask()); }
STEELYARD_HD inline float steelyard::simd::from_lane(float value, int lane) {
  return __shfl_sync(compute::cuda::half_warp_mask(), value, lane, kLanes);
}
STEELYARD_HD inline float steelyard::simd::from_partner(float value, int step) {
  return __shfl_xor_sync(compute::cuda::half_warp_mask(), value, step, kLanes);
}
STEELYARD_HD inline uint32_t steelyard::simd::vote(bool own) {
  return __ballot_sync(compute::cuda::half_warp_mask(), own) >> (threadIdx.x & 16) & 0xFFFF;
}
STEELYARD_HD inline int steelyard::simd::least_of_lanes(int own) {
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
STEELYARD_HD inline int steelyard::simd::first_lane(uint32_t bits) { return __ffs(static_cast<int>(bits)) - 1; }
STEELYARD_HD inline std::byte* steelyard::simd::common_memory() { return compute::cuda::block_memory(); }
STEELYARD_HD inline uint32_t steelyard::simd::common_top() { return compute::cuda::stack_words()[0]; }
STEELYARD_HD inline void steelyard::simd::set_common_top(uint32_t top) {
  if (top > compute::cuda::stack_words()[1]) __trap();
  compute::cuda::stack_words()[0] = top;
}
#else
STEELYARD_HD inline int steelyard::simd::this_lane() { return 0; }
STEELYARD_HD inline void steelyard::simd::meet() {}
STEELYARD_HD inline float steelyard::simd::from_lane(float value, int) { return value; }
STEELYARD_HD inline float steelyard::simd::from_partner(float value, int) { return value; }
STEELYARD_HD inline uint32_t steelyard::simd::vote(bool own) { return own ? 1 : 0; }
STEELYARD_HD inline int steelyard::simd::least_of_lanes(int own) { return own; }
STEELYARD_HD inline int steelyard::simd::first_lane(uint32_t) { return 0; }
STEELYARD_HD inline std::byte* steelyard::simd::common_memory() { return nullptr; }
STEELYARD_HD inline uint32_t steelyard::simd::common_top() { return 0; }
STEELYARD_HD inline void steelyard::simd::set_common_top(uint32_t) {}
#endif
