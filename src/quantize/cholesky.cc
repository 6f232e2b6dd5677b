// Block column after block column: one thread factors its square, all threads solve the rows below it, and subtract
// their products from what is below and right of it.
#include "quantize/cholesky.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/parallel.h"
#include "quantize/cholesky_kernel.h"
#include "simd/target.h"

namespace steelyard::quantize {

// Defined in cholesky.simd.cc, once per target that has encoders.
#define TARGET(enumerator, name, encoders, ...) \
  namespace encoders {                          \
  extern const CholeskyKernel kCholeskyKernel;  \
  }
#include "simd/targets.def"
#undef TARGET

namespace {

constexpr int64_t kColumns = 128;  // of a block

const CholeskyKernel& chosen_kernel() {
  static constexpr simd::PerTarget<CholeskyKernel> kKernels({
#define TARGET(enumerator, name, encoders, ...) &encoders::kCholeskyKernel,
#include "simd/targets.def"
#undef TARGET
  });
  return kKernels[simd::chosen_target()];
}

// A square where it lies, column after column.
bool factor_square(double* a, int64_t stride, int64_t n) {
  for (int64_t j = 0; j < n; ++j) {
    double* const row = a + j * stride;
    for (int64_t k = 0; k < j; ++k) row[j] -= row[k] * row[k];
    if (!(row[j] > 0.0)) return false;
    row[j] = std::sqrt(row[j]);
    for (int64_t i = j + 1; i < n; ++i) {
      double* const below = a + i * stride;
      for (int64_t k = 0; k < j; ++k) below[j] -= below[k] * row[k];
      below[j] /= row[j];
    }
  }
  return true;
}

// Rows of `n` values side by side, without gaps, and back. Lanes without a row hold zeros.
void gather(const double* rows, int64_t stride, int64_t n_rows, int64_t n, int64_t width, double* to) {
  for (int64_t k = 0; k < n; ++k) {
    for (int64_t r = 0; r < width; ++r) to[k * width + r] = r < n_rows ? rows[r * stride + k] : 0.0;
  }
}
void scatter(const double* from, int64_t n_rows, int64_t n, int64_t width, double* rows, int64_t stride) {
  for (int64_t r = 0; r < n_rows; ++r) {
    for (int64_t k = 0; k < n; ++k) rows[r * stride + k] = from[k * width + r];
  }
}

}  // namespace

bool cholesky(DoubleMatrix& a, formats::DeviceEncoder* device) {
  const int64_t n = a.rows(), stride = a.cols();
  if (device != nullptr && n >= kLeastOnDevice) return device->cholesky(n, a.data());
  const CholeskyKernel& kernel = chosen_kernel();
  const int64_t width = kernel.width;
  const auto at = [&](int64_t row, int64_t column) { return a.data() + row * stride + column; };
  for (int64_t begin = 0; begin < n; begin += kColumns) {
    const int64_t depth = std::min(kColumns, n - begin), next = begin + depth, n_below = n - next;
    if (!factor_square(at(begin, begin), stride, depth)) return false;
    parallel_for((n_below + width - 1) / width, 4, [&](int64_t group) {
      const int64_t row = next + group * width, n_rows = std::min(width, n - row);
      std::vector<double> lanes(static_cast<size_t>(depth * width));
      gather(at(row, begin), stride, n_rows, depth, width, lanes.data());
      kernel.solve(depth, at(begin, begin), stride, lanes.data());
      scatter(lanes.data(), n_rows, depth, width, at(row, begin), stride);
    });
    // Columns of the rest, each from the diagonal on. The first ones are the longest.
    parallel_for((n_below + width - 1) / width, 1, [&](int64_t group) {
      const int64_t column = next + group * width, n_columns = std::min(width, n - column);
      std::vector<double> right(static_cast<size_t>(depth * width));
      gather(at(column, begin), stride, n_columns, depth, width, right.data());
      if (n_columns == width) {
        return kernel.subtract(n - column, depth, at(column, begin), stride, right.data(), at(column, column), stride);
      }
      std::vector<double> last(static_cast<size_t>((n - column) * width));
      for (int64_t r = 0; r < n - column; ++r) std::copy_n(at(column + r, column), n_columns, &last[r * width]);
      kernel.subtract(n - column, depth, at(column, begin), stride, right.data(), last.data(), width);
      for (int64_t r = 0; r < n - column; ++r) std::copy_n(&last[r * width], n_columns, at(column + r, column));
    });
  }
  return true;
}

}  // namespace steelyard::quantize
