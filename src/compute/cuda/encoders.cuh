// The encoder of one quantized type on the device: the source of src/formats compiled once more, for half a warp as a
// register of 16 lanes (simd/half_warp.h). Half a warp encodes a block, with the same sums as the host, so the bytes
// are the host's. cmake/cuda_kernels.cmake makes an instance per type, which includes the type's sources into a
// namespace of its own.
//
// The including file must define STEELYARD_HALF_WARP and STEELYARD_TARGET, and must be compiled without contraction to
// FMA.
#pragma once

#include <type_traits>

#include "compute/cuda/books.cuh"
#include "compute/cuda/half_warp.cuh"
#include "compute/cuda/ldlq.cuh"
#include "formats/codec.h"

namespace steelyard::compute::cuda {

template <class F>
__global__ void __launch_bounds__(kEncodeThreads) encode_on_device(EncodeArgs args) {
  if constexpr (HasCodebook<F>) load_books<F>(args.books);
  const int64_t b = half_warp_number();
  if (b >= args.n_rows * args.blocks_of_row) return;
  const auto effort = static_cast<formats::Effort>(args.effort);
  empty_stack(stack_bytes<F>(effort, 0));
  const float* importance =
      args.importance == nullptr ? nullptr : args.importance + b % args.blocks_of_row * F::kBlockLen;
  formats::encode_blocks<F>(args.x + b * F::kBlockLen, importance, 1, effort,
                            args.out + b * static_cast<int64_t>(sizeof(typename F::Block)));
}

template <class F>
EncodeKernel make_encode_kernel() {
  EncodeKernel kernel;
  kernel.scales_bytes = sizeof(typename F::Scales);
  kernel.launch_ldlq = launch_ldlq<F>;
  kernel.launch = [](const EncodeArgs& args, cudaStream_t stream) {
    return CUDA_LAUNCH((encode_on_device<F>), grid_of_half_warps(args.n_rows * args.blocks_of_row),
                       dim3(kEncodeThreads), shared_bytes(stack_bytes<F>(static_cast<formats::Effort>(args.effort), 0)),
                       stream, args);
  };
  if constexpr (HasCodebook<F>) {
    static_assert(std::is_trivially_copyable_v<formats::BookOf<F>>, "books are copied to the device as they are");
    kernel.book_bytes = sizeof(formats::BookOf<F>);
    kernel.n_books = F::kSigns == formats::Signs::kShifted ? 2 : 1;
    kernel.book = [](int shift) -> const void* { return &formats::codebook<F>(shift); };
  }
  return kernel;
}

/// Defines what encoders.cc declares for a type.
#define STEELYARD_ENCODER(name)              \
  extern const EncodeKernel k##name##Encode; \
  const EncodeKernel k##name##Encode = make_encode_kernel<formats::name>();

}  // namespace steelyard::compute::cuda
