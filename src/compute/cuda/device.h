// The only header that kernels include for CUDA. nvcc builds it as CUDA. With STEELYARD_CUDA_EMULATED the host's
// compiler builds it on the emulator of tests/cuda_emulator. Launches, shared memory and every instruction without a
// C++ spelling are wrapped here, and kernels use no other way (tests/compute/cuda/lint_test.cc).
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#ifdef STEELYARD_CUDA_EMULATED
// The architecture that #if chooses by, times 10.
#ifndef CUDA_ARCH
#define CUDA_ARCH 800
#endif
/// A variable in shared memory: CUDA_SHARED(tile, float[4][8]).
#define CUDA_SHARED(name, ...) auto& name = ::steelyard::cuda_emulator::shared_var<__VA_ARGS__>([] {})
/// Dynamic shared memory of the launch: T* name.
#define CUDA_DYNAMIC_SHARED(T, name) T* name = static_cast<T*>(::steelyard::cuda_emulator::dyn_shared(16))
#define CUDA_UNROLL
/// CUDA_LAUNCH(kernel, grid, block, dynamic shared bytes, stream, arguments...); templates in parentheses. Returns
/// cudaError_t.
#define CUDA_LAUNCH(kernel, grid, block, shared, stream, ...) \
  ::steelyard::cuda_emulator::launch<kernel>(grid, block, shared, stream, __VA_ARGS__)
// The place of the call in the source, for messages.
#define CUDA_SITE , ::steelyard::cuda_emulator::Site site = {__builtin_FILE(), __builtin_LINE()}
#else
#ifdef __CUDA_ARCH__
#define CUDA_ARCH __CUDA_ARCH__
#else
#define CUDA_ARCH 0
#endif
#define CUDA_SHARED(name, ...) \
  __shared__ __align__(16) typename ::steelyard::compute::cuda::TypeOf<__VA_ARGS__>::type name
#define CUDA_DYNAMIC_SHARED(T, name)                                    \
  extern __shared__ __align__(128) unsigned char cuda_dynamic_shared[]; \
  T* name = reinterpret_cast<T*>(cuda_dynamic_shared)
#define CUDA_UNROLL _Pragma("unroll")
#define CUDA_LAUNCH(kernel, grid, block, shared, stream, ...) \
  ::steelyard::compute::cuda::launch(kernel, grid, block, shared, stream, __VA_ARGS__)
#define CUDA_SITE
#endif

namespace steelyard::compute::cuda {

inline constexpr int kWarp = 32;
inline constexpr unsigned kFullMask = 0xFFFFFFFF;

#ifndef STEELYARD_CUDA_EMULATED
template <class T>
struct TypeOf {
  using type = T;
};

template <class... P, class... A>
cudaError_t launch(void (*kernel)(P...), dim3 grid, dim3 block, size_t shared, cudaStream_t stream, A&&... args) {
  kernel<<<grid, block, shared, stream>>>(static_cast<P>(args)...);
  return cudaPeekAtLastError();
}

/// An address in shared memory as instructions take it.
__device__ __forceinline__ uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}
#endif

// ---- tensor cores: one wrapper per instruction; fragments as in PTX ISA 9.0, section 9.7.14.5. The host does not
// launch kernels with them on devices that lack them.

/// d = a b + c of bfloat16 (sm_80).
__device__ __forceinline__ void mma_m16n8k16_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                                                  const float (&c)[4] CUDA_SITE) {
#ifdef STEELYARD_CUDA_EMULATED
  cuda_emulator::mma_m16n8k16(true, d, a, b, c, site);
#elif CUDA_ARCH >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%10,%11,%12,%13};\n"
      : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));
#elif CUDA_ARCH > 0
  __trap();
#endif
}

/// d = a b + c of int8 over 16 values (sm_80): one group of a quantized type.
__device__ __forceinline__ void mma_m16n8k16_s8(int (&d)[4], const uint32_t (&a)[2], const uint32_t (&b)[1],
                                                const int (&c)[4] CUDA_SITE) {
#ifdef STEELYARD_CUDA_EMULATED
  cuda_emulator::mma_m16n8k16_s8(d, a, b, c, site);
#elif CUDA_ARCH >= 800
  asm volatile("mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%7,%8,%9,%10};\n"
               : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(b[0]), "r"(c[0]), "r"(c[1]), "r"(c[2]), "r"(c[3]));
#elif CUDA_ARCH > 0
  __trap();
#endif
}

// ---- warps

__device__ __forceinline__ float warp_sum(float v) {
  CUDA_UNROLL
  for (int o = kWarp / 2; o > 0; o /= 2) v += __shfl_xor_sync(kFullMask, v, o);
  return v;
}

__device__ __forceinline__ float warp_max(float v) {
  CUDA_UNROLL
  for (int o = kWarp / 2; o > 0; o /= 2) v = fmaxf(v, __shfl_xor_sync(kFullMask, v, o));
  return v;
}

}  // namespace steelyard::compute::cuda
