// Encoders on the device: the arguments of their kernels, and which types have one (encoders.def). Called by
// encoders.cc.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "compute/cuda/ldlq.h"
#include "formats/format.h"

namespace steelyard::compute::cuda {

inline constexpr int kEncodeThreads = 32;  ///< of a launch's block: two half warps

/// Whole rows of blocks; all pointers are the device's.
struct EncodeArgs {
  const float* x;           ///< [n_rows, blocks_of_row * block_len]
  const float* importance;  ///< [blocks_of_row * block_len], of all rows, or null
  std::byte* out;           ///< [n_rows, blocks_of_row * block_bytes]
  const void* books[kBooks];
  int64_t n_rows, blocks_of_row;
  int64_t effort;  ///< an Effort, as wide as its neighbours so that there is no padding
};

struct EncodeKernel {
  cudaError_t (*launch)(const EncodeArgs&, cudaStream_t) = nullptr;
  cudaError_t (*launch_ldlq)(LdlqStep, const LdlqArgs&, cudaStream_t) = nullptr;
  size_t scales_bytes = 0;  ///< of a block
  size_t book_bytes = 0;
  int n_books = 0;                           ///< that the kernel reads: copies of book(0), book(1)
  const void* (*book)(int shift) = nullptr;  ///< on the host
};

/// Null where the device has no encoder of that type.
const EncodeKernel* encode_kernel(formats::Type type);

}  // namespace steelyard::compute::cuda
