// Products whose sums have one order on every machine, whatever its registers, caches and threads: each value is summed
// in runs of its depth, value after value, and the runs are added in order. In F32, what rounding costs at the outputs
// and what a target is corrected by; in F64, the bulk of factors and solutions. Used by ldlq.cc, cholesky.cc and
// correction.cc.
#pragma once

#include <algorithm>
#include <cstdint>

namespace steelyard::quantize {

/// Values that are summed one after the other: as even parts of `depth` as possible, of 680 at most. This is how Eigen
/// 3.4 cuts products for a cache of 32 KiB without FMA, and so they are what they were when Eigen made them.
inline int64_t run_length(int64_t depth) {
  constexpr int64_t kMost = 680, kStep = 8;
  if (depth <= kMost) return std::max<int64_t>(depth, 1);
  if (depth % kMost == 0) return kMost;
  return kMost - kStep * ((kMost - 1 - depth % kMost) / (kStep * (depth / kMost + 1)));
}

/// c [m, n] = a [m, depth] x b [depth, n], all without gaps between rows. Parallel inside.
void multiply(int64_t m, int64_t n, int64_t depth, const float* a, const float* b, float* c);

/// Part of a matrix of F64: rows are `row` values apart, and columns `column`.
struct Strides {
  int64_t row, column = 1;
};

/// c [m, n] -= a [m, depth] x b [depth, n], in one thread and one run; rows of b and c are ldb and ldc values apart.
void subtract_product(int64_t m, int64_t n, int64_t depth, const double* a, Strides a_strides, const double* b,
                      int64_t ldb, double* c, int64_t ldc);

/// What multiplies in one target's registers (products.simd.cc). A panel is kPanelWidth columns of b, one run deep.
inline constexpr int64_t kPanelWidth = 32;
struct ProductKernels {
  void (*panel)(int64_t m, int64_t depth, const float* a, int64_t lda, const float* panel, float* c, int64_t ldc,
                bool add);
  decltype(&subtract_product) subtract;
};

}  // namespace steelyard::quantize
