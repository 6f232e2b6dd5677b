// Matrix products: the arguments of the kernels, and the kernels of each type. One instance of products.type.cu per
// type fills the table; products.cu chooses from it.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "formats/format.h"

namespace steelyard::compute::cuda {

/// Activations in the form that a kernel multiplies, row after row of `width` values, padded with zeros. Either int8
/// codes with a scale per group of 16 (value = scale * code), or up to three bfloat16 whose sum is the value: three
/// hold an F32 exactly.
struct PreparedInput {
  const int8_t* codes = nullptr;    ///< [rows, width]
  const float* scales = nullptr;    ///< [rows, width / 16], of codes
  const float* sums = nullptr;      ///< [rows, width / 16], of the values of each group
  const uint16_t* parts = nullptr;  ///< [n_parts, rows, width]
  int64_t n_parts = 0;
  int64_t rows = 0;
  int64_t width = 0;  ///< n_in rounded up to kTileDepth
};

/// Products of one weight tensor: y = W x for the rows of x. Either n_batch slices, where slice s of W reads columns s
/// * x_step of x and writes columns s * out_step of out; or experts, where row_begin has the first row of x of each.
struct ProductArgs {
  const std::byte* weights;  ///< the first slice
  int64_t row_bytes, slice_bytes;
  int64_t n_in, n_out;
  const float* x;
  int64_t x_stride, x_step;
  float* out;
  int64_t out_stride, out_step;
  int64_t n_rows;            ///< of x
  int64_t n_batch;           ///< 1 with experts
  const int32_t* row_begin;  ///< [n_expert + 1] or null
  int64_t n_expert;
  PreparedInput input;  ///< of row s * n_rows + r for slice s
};

/// Weight rows and x rows of a tile, and how deep shared memory holds them at a time.
inline constexpr int kTileRows = 64, kTileTokens = 64, kTileDepth = 64;
/// Rows of x up to which weights are multiplied row by row instead of in tiles.
inline constexpr int64_t kFewRows = 8;

/// Tiles of at most `size` rows that cover n_rows rows, whatever experts they belong to.
inline int64_t max_tiles(const ProductArgs& args, int64_t size) {
  const int64_t whole = (args.n_rows + size - 1) / size;
  if (args.row_begin == nullptr) return whole;
  // Every expert may add a tile that is not full, but no expert has more tiles than rows.
  const int64_t most = whole + args.n_expert;
  return most < args.n_rows ? most : args.n_rows;
}

using ProductKernel = cudaError_t (*)(const ProductArgs&, cudaStream_t);

/// The kernels of one type. Null where the type does not have the kernel: codes and parts are for quantized types,
/// parts also for BF16.
struct ProductKernels {
  ProductKernel rows = nullptr;         ///< a warp per weight row and row of x, in F32
  ProductKernel coded_rows = nullptr;   ///< the same on codes
  ProductKernel tiles = nullptr;        ///< in F32
  ProductKernel coded_tiles = nullptr;  ///< int8 tensor cores, on codes
  ProductKernel split_tiles = nullptr;  ///< bfloat16 tensor cores, on parts
  /// out[t] = row ids[t] of a table; n ids, of which negative ones are left out.
  cudaError_t (*decode)(const std::byte* table, int64_t row_bytes, int64_t n_in, const int32_t* ids, int64_t n,
                        float* out, int64_t out_stride, cudaStream_t) = nullptr;
  /// Sets what blocks store as scales (stored_scales.cuh).
  cudaError_t (*write_scales)(std::byte* blocks, int64_t n_blocks, const float* scales, int64_t unit,
                              cudaStream_t) = nullptr;
};

/// Kernels of a format; all null for types that hold no weights.
const ProductKernels& product_kernels(const formats::Format& format);

/// Fills codes, scales and sums. x as in args.
cudaError_t encode_input(const ProductArgs& args, int8_t* codes, float* scales, float* sums, cudaStream_t stream);
/// Fills parts and sums.
cudaError_t split_input(const ProductArgs& args, int n_parts, uint16_t* parts, float* sums, cudaStream_t stream);

}  // namespace steelyard::compute::cuda
