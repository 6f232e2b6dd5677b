// Puts the kernels of one type into a table. cmake/cuda_kernels.cmake makes the instances, a few types per file.
#pragma once

#include <type_traits>

#include "compute/cuda/row_products.cuh"
#include "compute/cuda/stored_scales.cuh"
#include "compute/cuda/tensor_products.cuh"
#include "compute/cuda/tile_products.cuh"

namespace steelyard::compute::cuda {

inline dim3 grid_of(const ProductArgs& args, int64_t rows, int64_t tokens) {
  return dim3(static_cast<unsigned>((args.n_out + rows - 1) / rows), static_cast<unsigned>(max_tiles(args, tokens)),
              static_cast<unsigned>(args.n_batch));
}

template <class F>
ProductKernels make_product_kernels() {
  ProductKernels kernels;
  if constexpr (formats::Grouped<F> || requires(const typename F::Block& block) { value_of(block); }) {
    kernels.rows = [](const ProductArgs& args, cudaStream_t stream) {
      return CUDA_LAUNCH((multiply_rows<F>), grid_of(args, kRowsOfBlock, 1), dim3(kRowsOfBlock * kWarp), 0, stream,
                         args);
    };
    kernels.tiles = [](const ProductArgs& args, cudaStream_t stream) {
      return CUDA_LAUNCH((multiply_tiles<F>), grid_of(args, kTileRows, kTileTokens), dim3(kTileThreads), 0, stream,
                         args);
    };
    kernels.decode = [](const std::byte* table, int64_t row_bytes, int64_t n_in, const int32_t* ids, int64_t n,
                        float* out, int64_t out_stride, cudaStream_t stream) {
      return CUDA_LAUNCH((decode_rows<F>), dim3(static_cast<unsigned>(n)), dim3(128), 0, stream, table, row_bytes, n_in,
                         ids, out, out_stride);
    };
  }
  if constexpr (formats::Grouped<F>) {
    kernels.coded_rows = [](const ProductArgs& args, cudaStream_t stream) {
      return CUDA_LAUNCH((multiply_coded_rows<F>), grid_of(args, kRowsOfBlock, 1), dim3(kRowsOfBlock * kWarp), 0,
                         stream, args);
    };
    kernels.coded_tiles = [](const ProductArgs& args, cudaStream_t stream) {
      return CUDA_LAUNCH((multiply_tensor_tiles<F, Int8Codes>), grid_of(args, kTileRows, kTileTokens),
                         dim3(kTensorThreads), 0, stream, args);
    };
  }
  if constexpr (formats::Grouped<F> || std::is_same_v<F, formats::BF16>) {
    kernels.split_tiles = [](const ProductArgs& args, cudaStream_t stream) {
      return CUDA_LAUNCH((multiply_tensor_tiles<F, Bf16Codes>), grid_of(args, kTileRows, kTileTokens),
                         dim3(kTensorThreads), 0, stream, args);
    };
  }
  if constexpr (formats::StoresScales<F>) {
    kernels.write_scales = [](std::byte* blocks, int64_t n_blocks, const float* scales, int64_t unit,
                              cudaStream_t stream) {
      return CUDA_LAUNCH((write_block_scales<F>),
                         dim3(static_cast<unsigned>((n_blocks + kScaleThreads - 1) / kScaleThreads)),
                         dim3(kScaleThreads), 0, stream, blocks, n_blocks, scales, unit);
    };
  }
  return kernels;
}

/// Defines what products.cu declares for a type.
#define STEELYARD_PRODUCTS(name)                 \
  extern const ProductKernels k##name##Products; \
  const ProductKernels k##name##Products = make_product_kernels<formats::name>();

}  // namespace steelyard::compute::cuda
