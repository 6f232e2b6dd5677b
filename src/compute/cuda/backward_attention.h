// Attention's backward pass, of some heads and queries at a time.
#pragma once

#include <cuda_runtime.h>

#include "compute/arguments.h"

namespace steelyard::compute::cuda {

/// A part whose probabilities are at most so many values, if one query of one group of heads is.
struct AttentionPart {
  AttentionPart(const AttentionGradient& at, int64_t most);

  int64_t n_group;  ///< query heads that share keys
  int64_t n_keys;
  int64_t n_heads_kv, n_queries;   ///< of a part
  int64_t head_kv = 0, query = 0;  ///< the first ones of this part

  int64_t n_rows() const { return n_heads_kv * n_group * n_queries; }
};

/// Adds a part's gradients. p and dp: [n_rows, n_keys], dsinks: [n_rows], uninitialised.
cudaError_t attention_backward(const AttentionGradient& at, const AttentionPart& part, float* p, float* dp,
                               float* dsinks, cudaStream_t stream);

}  // namespace steelyard::compute::cuda
