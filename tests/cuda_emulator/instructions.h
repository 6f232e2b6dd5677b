// Instructions that the emulator has and that no kernel of the backend uses: half-precision tensor cores, loads of
// matrix fragments, copies past the registers. They are wrapped as compute/cuda/device.h wraps the others, so that
// probes run them on the emulator and as the PTX that nvcc makes of them. One that a kernel comes to use moves there.
#pragma once

#include "compute/cuda/device.h"

namespace steelyard::compute::cuda {

/// d = a b + c of half precision (sm_80), as mma_m16n8k16_bf16.
__device__ __forceinline__ void mma_m16n8k16_f16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                                                 const float (&c)[4] CUDA_SITE) {
#ifdef STEELYARD_CUDA_EMULATED
  cuda_emulator::mma_m16n8k16(false, d, a, b, c, site);
#elif CUDA_ARCH >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%11,%12,%13};\n"
      : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));
#elif CUDA_ARCH > 0
  __trap();
#endif
}

/// Four 8x8 matrices of 16-bit elements from shared memory; lane l gives the address of row l % 8 of matrix l / 8.
__device__ __forceinline__ void ldmatrix_x4(uint32_t (&r)[4], const void* row CUDA_SITE) {
#ifdef STEELYARD_CUDA_EMULATED
  cuda_emulator::ldmatrix(4, false, r, row, site);
#else
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
#endif
}

// ---- asynchronous copies to shared memory (sm_80; plain copies below)

/// 16 bytes; those beyond src_bytes become zero.
__device__ __forceinline__ void copy_async_16(void* shared, const void* global, int src_bytes = 16) {
#ifdef STEELYARD_CUDA_EMULATED
  cuda_emulator::cp_async(shared, global, 16, src_bytes);
#elif CUDA_ARCH >= 800
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(shared_address(shared)),
               "l"(__cvta_generic_to_global(global)), "r"(src_bytes)
               : "memory");
#else
  *static_cast<uint4*>(shared) = src_bytes > 0 ? *static_cast<const uint4*>(global) : make_uint4(0, 0, 0, 0);
#endif
}
__device__ __forceinline__ void commit_copies() {
#ifdef STEELYARD_CUDA_EMULATED
  cuda_emulator::cp_async_commit();
#elif CUDA_ARCH >= 800
  asm volatile("cp.async.commit_group;\n" ::: "memory");
#endif
}
template <int kPending>
__device__ __forceinline__ void wait_for_copies() {
#ifdef STEELYARD_CUDA_EMULATED
  cuda_emulator::cp_async_wait(kPending);
#elif CUDA_ARCH >= 800
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kPending) : "memory");
#endif
}

}  // namespace steelyard::compute::cuda
