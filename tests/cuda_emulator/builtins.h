// What kernels use of CUDA without including anything: qualifiers, indices, barriers, warp and integer intrinsics,
// atomics. There is no __shared__ on purpose: kernels declare shared memory through compute/cuda/device.h.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "cuda_emulator/engine.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) alignas(n)

#define threadIdx (::steelyard::cuda_emulator::current_thread->tid)
#define blockIdx (::steelyard::cuda_emulator::current_thread->bid)
#define blockDim (::steelyard::cuda_emulator::current_block_dim)
#define gridDim (::steelyard::cuda_emulator::current_grid_dim)
inline constexpr int warpSize = 32;

using std::max;
using std::min;

// ---- barriers and warps

inline void __syncthreads(CUDA_EMULATOR_SITE) {
  ::steelyard::cuda_emulator::barrier(0, 0, ::steelyard::cuda_emulator::kBarPlain, 0, site);
}
inline int __syncthreads_or(int p, CUDA_EMULATOR_SITE) {
  return ::steelyard::cuda_emulator::barrier(0, 0, ::steelyard::cuda_emulator::kBarOr, p, site);
}
inline int __syncthreads_and(int p, CUDA_EMULATOR_SITE) {
  return ::steelyard::cuda_emulator::barrier(0, 0, ::steelyard::cuda_emulator::kBarAnd, p, site);
}
inline int __syncthreads_count(int p, CUDA_EMULATOR_SITE) {
  return ::steelyard::cuda_emulator::barrier(0, 0, ::steelyard::cuda_emulator::kBarCount, p, site);
}
inline void __syncwarp(unsigned mask = 0xFFFFFFFF, CUDA_EMULATOR_SITE) {
  ::steelyard::cuda_emulator::syncwarp(mask, site);
}

namespace steelyard::cuda_emulator {

template <class T>
T shfl(Shfl kind, unsigned mask, T value, int arg, int width, Site site) {
  static_assert(std::is_trivially_copyable_v<T> && (sizeof(T) == 4 || sizeof(T) == 8));
  if constexpr (sizeof(T) == 8) {
    return std::bit_cast<T>(shfl64(kind, mask, std::bit_cast<uint64_t>(value), arg, width, site));
  } else {
    return std::bit_cast<T>(shfl32(kind, mask, std::bit_cast<uint32_t>(value), arg, width, site));
  }
}

template <class T>
uint64_t bits_of(T value) {
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof(T));
  return bits;
}

}  // namespace steelyard::cuda_emulator

#define CUDA_EMULATOR_SHFL(name, kind)                                                                              \
  template <class T>                                                                                                \
  T name(unsigned mask, T value, int arg, int width = 32, CUDA_EMULATOR_SITE) {                                     \
    return ::steelyard::cuda_emulator::shfl(::steelyard::cuda_emulator::Shfl::kind, mask, value, arg, width, site); \
  }
CUDA_EMULATOR_SHFL(__shfl_sync, kIdx)
CUDA_EMULATOR_SHFL(__shfl_up_sync, kUp)
CUDA_EMULATOR_SHFL(__shfl_down_sync, kDown)
CUDA_EMULATOR_SHFL(__shfl_xor_sync, kXor)
#undef CUDA_EMULATOR_SHFL

#define CUDA_EMULATOR_VOTE(type, name, kind)                                                                   \
  inline type name(unsigned mask, int p, CUDA_EMULATOR_SITE) {                                                 \
    return type(::steelyard::cuda_emulator::vote(::steelyard::cuda_emulator::Vote::kind, mask, p != 0, site)); \
  }
CUDA_EMULATOR_VOTE(unsigned, __ballot_sync, kBallot)
CUDA_EMULATOR_VOTE(int, __any_sync, kAny)
CUDA_EMULATOR_VOTE(int, __all_sync, kAll)
#undef CUDA_EMULATOR_VOTE

template <class T>
unsigned __match_any_sync(unsigned mask, T value, CUDA_EMULATOR_SITE) {
  namespace emulator = ::steelyard::cuda_emulator;
  return emulator::vote(emulator::Vote::kMatchAny, mask, emulator::bits_of(value), site);
}

#define CUDA_EMULATOR_REDUCE(type, name, kind)                                                                   \
  inline type name(unsigned mask, type value, CUDA_EMULATOR_SITE) {                                              \
    return type(                                                                                                 \
        ::steelyard::cuda_emulator::reduce(::steelyard::cuda_emulator::Red::kind, mask, unsigned(value), site)); \
  }
CUDA_EMULATOR_REDUCE(int, __reduce_add_sync, kAddS)
CUDA_EMULATOR_REDUCE(unsigned, __reduce_add_sync, kAddU)
CUDA_EMULATOR_REDUCE(int, __reduce_max_sync, kMaxS)
CUDA_EMULATOR_REDUCE(int, __reduce_min_sync, kMinS)
#undef CUDA_EMULATOR_REDUCE

inline void __threadfence() { ::steelyard::cuda_emulator::fence(); }
inline void __threadfence_block() { ::steelyard::cuda_emulator::fence(); }
inline void __nanosleep(unsigned) { ::steelyard::cuda_emulator::spin_yield(); }
[[noreturn]] inline void __trap() { ::steelyard::cuda_emulator::fail("__trap()"); }

#include "cuda_emulator/arithmetic.h"
