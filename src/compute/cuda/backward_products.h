// Launches of the backward passes of matrix products, of some rows of a weight at a time: those of ProductArgs, with
// gradients in the place of out.
#pragma once

#include "compute/cuda/products.h"

namespace steelyard::compute::cuda {

/// Matrices of the weight: experts or a batch.
inline int64_t n_slices(const ProductArgs& args) { return args.row_begin != nullptr ? args.n_expert : args.n_batch; }

/// rows[r] = r for the rows of slices that have rows of x, else -1; [n_slices * n_out].
cudaError_t used_rows(const ProductArgs& args, int32_t* rows, cudaStream_t stream);
/// dx, of the layout of x, += weights^T out; weights: [n_slices, n_out, n_in], decoded.
cudaError_t multiply_transposed(const ProductArgs& args, const float* weights, float* dx, cudaStream_t stream);
/// gradients [n_slices, n_out, n_in] = or += the sum over rows of out x^T; of slices without rows nothing is written.
cudaError_t multiply_outer(const ProductArgs& args, float* gradients, bool add, cudaStream_t stream);
/// sums[b][number] += the product of the gradients and units of block b, of the rows that used_rows lists.
cudaError_t add_scale_gradients(const ProductArgs& args, const float* gradients, const float* units,
                                const int32_t* rows, const formats::Format& format, int64_t number, float* sums,
                                cudaStream_t stream);

}  // namespace steelyard::compute::cuda
