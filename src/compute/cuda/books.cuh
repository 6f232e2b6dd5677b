// Codebooks for kernels that encode. An encoder asks book_of for them. On the device that is device memory, whose
// address is an argument of the kernel.
#pragma once

#include "compute/cuda/device.h"
#include "compute/cuda/encoders.h"
#include "formats/search/vector_search.h"

namespace steelyard::compute::cuda {

template <class F>
concept HasCodebook = requires {
  F::kIndexBits;
};

/// The block's copy of the addresses of the books in device memory.
template <class F>
__device__ const formats::BookOf<F>** books_of_kernel() {
  CUDA_SHARED(books, const formats::BookOf<F>* [2]);
  return books;
}

/// Called by all threads of a block before the first of them encodes.
template <class F>
__device__ void load_books(const void* const (&books)[kBooks]) {
  if (threadIdx.x < kBooks) {
    books_of_kernel<F>()[threadIdx.x] = static_cast<const formats::BookOf<F>*>(books[threadIdx.x]);
  }
  __syncthreads();
}

}  // namespace steelyard::compute::cuda

// What formats/search/vector_search.h only declares for devices.
template <class F>
STEELYARD_HD const steelyard::formats::STEELYARD_TARGET::BookOf<F>& steelyard::formats::STEELYARD_TARGET::book_of(
    int shift) {
#if CUDA_ARCH > 0
  return *steelyard::compute::cuda::books_of_kernel<F>()[shift];
#else
  return codebook<F>(shift);
#endif
}
