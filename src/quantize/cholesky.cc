#include "quantize/cholesky.h"

#include <Eigen/Cholesky>
#include <algorithm>

#include "base/parallel.h"
#include "quantize/products.h"

namespace steelyard::quantize {
namespace {

// Rows that a task takes at a time.
constexpr Eigen::Index kRows = 128;

}  // namespace

bool cholesky(DoubleMatrix& a, const SquareFactor& factor_square, Eigen::Index n_columns) {
  const Eigen::Index n = a.rows();
  for (Eigen::Index begin = 0; begin < n; begin += n_columns) {
    const Eigen::Index width = std::min(n_columns, n - begin), next = begin + width;
    Eigen::Ref<DoubleMatrix> square = a.block(begin, begin, width, width);
    if (!factor_square(square)) return false;
    const auto below = [&](Eigen::Index i) {
      const Eigen::Index first = next + i * kRows;
      return std::pair(first, std::min(kRows, n - first));
    };
    const Eigen::Index n_below = (n - next + kRows - 1) / kRows;
    parallel_for(n_below, 1, [&](int64_t i) {
      const auto [first, count] = below(i);
      auto rows = a.block(first, begin, count, width);
      square.triangularView<Eigen::Lower>().transpose().solveInPlace<Eigen::OnTheRight>(rows);
    });
    parallel_for(n_below, 1, [&](int64_t i) {
      const auto [first, count] = below(i);
      const DoubleMatrix turned = a.block(first, begin, count, width).transpose();
      subtract_product(n - first, count, width, &a(first, begin), {n}, turned.data(), count, &a(first, first), n);
    });
  }
  return true;
}

bool cholesky(DoubleMatrix& a) {
  constexpr Eigen::Index kColumns = 128;
  return cholesky(
      a,
      [](Eigen::Ref<DoubleMatrix> square) {
        return Eigen::LLT<Eigen::Ref<DoubleMatrix>, Eigen::Lower>(square).info() == Eigen::Success;
      },
      kColumns);
}

}  // namespace steelyard::quantize
