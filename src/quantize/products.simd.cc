// Compiled once per target (cmake/simd.cmake): products of tiles of rows. A multiplication and an addition, rounded
// one by one: targets that could fuse them give the same sums as those that cannot.
#include "quantize/products.h"

#include "simd/doubles.h"
#include "simd/simd.h"

namespace steelyard::quantize::inline STEELYARD_TARGET {
namespace {

using namespace simd;  // verbs, short as in formats/verbs.h

constexpr int kVectors = 2;                   // of columns at a time
constexpr int kRows = kLanes == 16 ? 12 : 4;  // with two sums each, and a vector of products: what registers hold

// out [rows, 2 vectors] = or += a [rows, depth] x columns of a panel.
template <int kTogether>
void tile(int64_t depth, const float* a, int64_t lda, const float* panel, float* out, int64_t ldc, bool add) {
  Floats sums[kTogether][kVectors];
#pragma GCC unroll 12
  for (int r = 0; r < kTogether; ++r) sums[r][0] = sums[r][1] = Floats{};
  for (int64_t k = 0; k < depth; ++k, panel += kPanelWidth) {
    const Floats b0 = load(panel), b1 = load(panel + kLanes);
#pragma GCC unroll 12
    for (int r = 0; r < kTogether; ++r) {
      const Floats x = broadcast(a[r * lda + k]);
      sums[r][0] += x * b0;
      sums[r][1] += x * b1;
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < kTogether; ++r) {
    float* const to = out + r * ldc;
    store(add ? load(to) + sums[r][0] : sums[r][0], to);
    store(add ? load(to + kLanes) + sums[r][1] : sums[r][1], to + kLanes);
  }
}

template <int kTogether>
void rows(int64_t depth, const float* a, int64_t lda, const float* panel, float* c, int64_t ldc, bool add) {
  static_assert(kPanelWidth % (kVectors * kLanes) == 0);
  for (int64_t column = 0; column < kPanelWidth; column += kVectors * kLanes)
    tile<kTogether>(depth, a, lda, panel + column, c + column, ldc, add);
}

void multiply_panel(int64_t m, int64_t depth, const float* a, int64_t lda, const float* panel, float* c, int64_t ldc,
                    bool add) {
  int64_t r = 0;
  for (; r + kRows <= m; r += kRows) rows<kRows>(depth, a + r * lda, lda, panel, c + r * ldc, ldc, add);
  for (; r < m; ++r) rows<1>(depth, a + r * lda, lda, panel, c + r * ldc, ldc, add);
}

// c [rows, vectors] -= a x columns of b.
template <int kTogether, int kWide>
void subtract_tile(int64_t depth, const double* a, Strides strides, const double* b, int64_t ldb, double* c,
                   int64_t ldc) {
  Doubles sums[kTogether][kWide];
#pragma GCC unroll 12
  for (int r = 0; r < kTogether; ++r) {
    for (int v = 0; v < kWide; ++v) sums[r][v] = Doubles{};
  }
  for (int64_t k = 0; k < depth; ++k, b += ldb) {
    Doubles values[kWide];
    for (int v = 0; v < kWide; ++v) values[v] = load_doubles(b + v * kDoubles);
#pragma GCC unroll 12
    for (int r = 0; r < kTogether; ++r) {
      const double x = a[r * strides.row + k * strides.column];
      for (int v = 0; v < kWide; ++v) sums[r][v] += x * values[v];
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < kTogether; ++r) {
    for (int v = 0; v < kWide; ++v) {
      double* const to = c + r * ldc + v * kDoubles;
      store(load_doubles(to) - sums[r][v], to);
    }
  }
}

template <int kTogether>
void subtract_rows(int64_t n, int64_t depth, const double* a, Strides strides, const double* b, int64_t ldb, double* c,
                   int64_t ldc) {
  int64_t j = 0;
  for (; j + kVectors * kDoubles <= n; j += kVectors * kDoubles)
    subtract_tile<kTogether, kVectors>(depth, a, strides, b + j, ldb, c + j, ldc);
  for (; j + kDoubles <= n; j += kDoubles) subtract_tile<kTogether, 1>(depth, a, strides, b + j, ldb, c + j, ldc);
  for (; j < n; ++j) {
    for (int r = 0; r < kTogether; ++r) {
      double sum = 0.0;
      for (int64_t k = 0; k < depth; ++k) sum += a[r * strides.row + k * strides.column] * b[k * ldb + j];
      c[r * ldc + j] -= sum;
    }
  }
}

void subtract(int64_t m, int64_t n, int64_t depth, const double* a, Strides strides, const double* b, int64_t ldb,
              double* c, int64_t ldc) {
  int64_t r = 0;
  for (; r + kRows <= m; r += kRows)
    subtract_rows<kRows>(n, depth, a + r * strides.row, strides, b, ldb, c + r * ldc, ldc);
  for (; r < m; ++r) subtract_rows<1>(n, depth, a + r * strides.row, strides, b, ldb, c + r * ldc, ldc);
}

}  // namespace

extern const ProductKernels kProductKernels = {multiply_panel, subtract};

}  // namespace steelyard::quantize::inline STEELYARD_TARGET
