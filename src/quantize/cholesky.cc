#include "quantize/cholesky.h"

#include <Eigen/Cholesky>
#include <algorithm>

#include "base/parallel.h"

namespace steelyard::quantize {
namespace {

// Columns that are factored together. One thread factors their square; all threads factor what is below and right of
// it.
constexpr Eigen::Index kColumns = 128;

}  // namespace

bool cholesky(DoubleMatrix& a) {
  const Eigen::Index n = a.rows();
  for (Eigen::Index begin = 0; begin < n; begin += kColumns) {
    const Eigen::Index width = std::min(kColumns, n - begin), next = begin + width;
    Eigen::Ref<DoubleMatrix> square = a.block(begin, begin, width, width);
    if (Eigen::LLT<Eigen::Ref<DoubleMatrix>, Eigen::Lower>(square).info() != Eigen::Success) return false;
    const auto below = [&](Eigen::Index i) {
      const Eigen::Index first = next + i * kColumns;
      return std::pair(first, std::min(kColumns, n - first));
    };
    const Eigen::Index n_below = (n - next + kColumns - 1) / kColumns;
    parallel_for(n_below, 1, [&](int64_t i) {
      const auto [first, count] = below(i);
      auto rows = a.block(first, begin, count, width);
      square.triangularView<Eigen::Lower>().transpose().solveInPlace<Eigen::OnTheRight>(rows);
    });
    parallel_for(n_below, 1, [&](int64_t i) {
      const auto [first, count] = below(i);
      const auto rows = a.block(first, begin, count, width);
      a.block(first, first, n - first, count).noalias() -= a.block(first, begin, n - first, width) * rows.transpose();
    });
  }
  return true;
}

}  // namespace steelyard::quantize
