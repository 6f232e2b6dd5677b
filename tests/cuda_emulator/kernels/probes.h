// Kernels that test the emulator itself: every wrapped instruction, one after the other, and intrinsics of all kinds.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace steelyard::cuda_probes {

/// d = a b + c; a: [16, 16], b: [8, 16] by columns, c and d: [16, 8].
cudaError_t probe_s8(int* d, const int8_t* a, const int8_t* b, const int* c);
/// d = a b.
cudaError_t probe_half(float* d, const __half* a, const __half* b);
cudaError_t probe_bf16(float* d, const __nv_bfloat16* a, const __nv_bfloat16* b);
/// The four 8x8 matrices of in [32, 8]: out [32 lanes, 4].
cudaError_t probe_ldmatrix(uint32_t* out, const uint16_t* in);
/// out[i] = in[n - 1 - i] through asynchronous copies; n: a multiple of 4 up to 128.
cudaError_t probe_copies(float* out, const float* in, int n);

inline constexpr int kIntrinsics = 48;  ///< values per thread at most
/// One of everything: out [64 * n_blocks, kIntrinsics] of in [n_in].
cudaError_t intrinsics(uint32_t* out, const uint32_t* in, int n_in, int n_blocks);

}  // namespace steelyard::cuda_probes
