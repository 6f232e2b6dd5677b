// Compiled once per target (cmake/simd.cmake): the inner loops of cholesky.cc, two vectors of F64 wide.
#include <cstring>

#include "quantize/cholesky_kernel.h"
#include "simd/simd.h"

namespace steelyard::quantize::inline STEELYARD_TARGET {
namespace {

constexpr int kDoubles = simd::kLanes > 4 ? simd::kLanes / 2 : 2;  // of a vector
constexpr int kWidth = 2 * kDoubles;
using Doubles = double __attribute__((vector_size(kDoubles * sizeof(double))));

struct Pair {
  Doubles first, second;
};

inline __attribute__((always_inline)) void load(Pair& to, const double* from) { std::memcpy(&to, from, sizeof to); }
inline __attribute__((always_inline)) void store(double* to, const Pair& from) { std::memcpy(to, &from, sizeof from); }

// Rows of the result stay in registers.
template <int kRows>
void subtract_rows(int64_t depth, const double* a, int64_t stride_a, const double* b, double* c, int64_t stride_c) {
  Pair sums[kRows];
  for (int r = 0; r < kRows; ++r) load(sums[r], c + r * stride_c);
  for (int64_t k = 0; k < depth; ++k) {
    Pair right;
    load(right, b + k * kWidth);
    for (int r = 0; r < kRows; ++r) {
      const double left = a[r * stride_a + k];
      sums[r].first -= left * right.first;
      sums[r].second -= left * right.second;
    }
  }
  for (int r = 0; r < kRows; ++r) store(c + r * stride_c, sums[r]);
}

void subtract(int64_t n_rows, int64_t depth, const double* a, int64_t stride_a, const double* b, double* c,
              int64_t stride_c) {
  constexpr int kRows = 4;
  int64_t row = 0;
  for (; row + kRows <= n_rows; row += kRows)
    subtract_rows<kRows>(depth, a + row * stride_a, stride_a, b, c + row * stride_c, stride_c);
  for (; row < n_rows; ++row) subtract_rows<1>(depth, a + row * stride_a, stride_a, b, c + row * stride_c, stride_c);
}

void solve(int64_t n, const double* l, int64_t stride_l, double* x) {
  for (int64_t j = 0; j < n; ++j) {
    const double* const row = l + j * stride_l;
    Pair own;
    load(own, x + j * kWidth);
    for (int64_t k = 0; k < j; ++k) {
      Pair before;
      load(before, x + k * kWidth);
      own.first -= row[k] * before.first;
      own.second -= row[k] * before.second;
    }
    own.first /= row[j];
    own.second /= row[j];
    store(x + j * kWidth, own);
  }
}

}  // namespace

extern const CholeskyKernel kCholeskyKernel;
const CholeskyKernel kCholeskyKernel = {kWidth, subtract, solve};

}  // namespace steelyard::quantize::inline STEELYARD_TARGET
