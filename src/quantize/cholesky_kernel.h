// The loops of the Cholesky factorization, compiled once per target (cholesky.simd.cc). Every element is reduced by one
// product after the other, in ascending order, and nothing is contracted to FMA. So the factor does not depend on how
// wide vectors are, how a matrix is cut into blocks, or whether a device computes it (compute/cuda/cholesky.cu).
#pragma once

#include <cstdint>

namespace steelyard::quantize {

struct CholeskyKernel {
  int64_t width;  ///< columns or rows that are side by side in a vector's lanes

  /// c [n_rows, width] -= a [n_rows, depth] b, where b is [depth, width] without gaps.
  void (*subtract)(int64_t n_rows, int64_t depth, const double* a, int64_t stride_a, const double* b, double* c,
                   int64_t stride_c);
  /// Solves x l^T = x for `width` rows x, which lie side by side: x is [n, width], l [n, n] lower triangular.
  void (*solve)(int64_t n, const double* l, int64_t stride_l, double* x);
};

}  // namespace steelyard::quantize
