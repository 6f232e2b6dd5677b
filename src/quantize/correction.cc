#include "quantize/correction.h"

#include <Eigen/Cholesky>
#include <algorithm>
#include <atomic>
#include <utility>

#include "base/parallel.h"
#include "quantize/cholesky.h"
#include "quantize/damping.h"
#include "quantize/matrix.h"
#include "quantize/products.h"

namespace steelyard::quantize {
namespace {

FloatMatrixView view(const std::vector<float>& values, int64_t n) {
  return {values.data(), static_cast<int64_t>(values.size()) / n, n};
}

}  // namespace

std::vector<float> compute_linear_term(const std::vector<float>& rows, const std::vector<float>& cross_covariance,
                                       int64_t n) {
  if (cross_covariance.empty()) return {};
  std::vector<float> linear_term(rows.size());
  multiply(static_cast<int64_t>(rows.size()) / n, n, n, rows.data(), cross_covariance.data(), linear_term.data());
  return linear_term;
}

struct Correction::Factor {
  DoubleMatrix lower;  // L [n, n] of H = L L^T
  bool exists = false;
};

namespace {

// Columns that Eigen's LLT factors together, and how it factors their square.
Eigen::Index columns_together(Eigen::Index n) {
  constexpr Eigen::Index kUnblocked = 32, kParts = 8, kStep = 16, kLeast = 8, kMost = 128;
  return n < kUnblocked ? n : std::clamp(n / kParts / kStep * kStep, kLeast, kMost);
}
bool factor_unblocked(Eigen::Ref<DoubleMatrix> square) {
  return Eigen::internal::llt_inplace<double, Eigen::Lower>::unblocked(square) < 0;
}

// Unknowns that are solved for together, before what they explain is taken from the others: as even parts as possible,
// of 120 at most. Like products.h this is how Eigen has cut it.
Eigen::Index unknowns_together(Eigen::Index n) {
  constexpr Eigen::Index kMost = 120, kStep = 8;
  if (n <= kMost || n % kMost == 0) return std::min(n, kMost);
  return kMost - kStep * ((kMost - 1 - n % kMost) / (kStep * (n / kMost + 1)));
}

// x [n, width] = (L L^T)^-1 x.
void solve(const DoubleMatrix& lower, DoubleMatrix& x) {
  const Eigen::Index n = lower.rows(), width = x.cols(), together = unknowns_together(n);
  for (Eigen::Index begin = 0; begin < n; begin += together) {
    const Eigen::Index count = std::min(together, n - begin), next = begin + count;
    auto own = x.middleRows(begin, count);
    lower.block(begin, begin, count, count).triangularView<Eigen::Lower>().solveInPlace(own);
    subtract_product(n - next, width, count, lower.data() + next * n + begin, {n}, own.data(), width,
                     x.data() + next * width, width);
  }
  for (Eigen::Index end = n; end > 0; end -= std::min(together, end)) {
    const Eigen::Index count = std::min(together, end), begin = end - count;
    auto own = x.middleRows(begin, count);
    lower.block(begin, begin, count, count).triangularView<Eigen::Lower>().transpose().solveInPlace(own);
    subtract_product(begin, width, count, lower.data() + begin * n, {.row = 1, .column = n}, own.data(), width,
                     x.data(), width);
  }
}

}  // namespace

// What is factored is a copy: H goes before the rows come.
Correction::Correction(const std::vector<float>& hessian, int64_t n, double ridge) : n_(n) {
  auto factor = std::make_unique<Factor>();
  factor->lower = view(hessian, n).cast<double>();
  damp(factor->lower, ridge);
  factor->exists = cholesky(factor->lower, factor_unblocked, columns_together(n));
  factor_ = std::move(factor);
}

Correction::~Correction() = default;

std::vector<float> Correction::corrected(const std::vector<float>& rows, const std::vector<float>& linear_term) const {
  if (linear_term.empty() || !factor_->exists) return rows;
  constexpr int64_t kRows = 64;  // at a time: their solutions stay in the cache
  const int64_t n_rows = static_cast<int64_t>(rows.size()) / n_;
  std::vector<float> result(rows.size());
  std::atomic<bool> finite = true;
  parallel_for((n_rows + kRows - 1) / kRows, 1, [&](int64_t task) {
    const int64_t begin = task * kRows, count = std::min(kRows, n_rows - begin);
    DoubleMatrix step = view(linear_term, n_).middleRows(begin, count).cast<double>().transpose();
    solve(factor_->lower, step);
    if (!step.allFinite()) finite = false;
    Eigen::Map<FloatMatrix>(result.data(), n_rows, n_).middleRows(begin, count) =
        view(rows, n_).middleRows(begin, count) + step.transpose().cast<float>();
  });
  return finite ? result : rows;
}

}  // namespace steelyard::quantize
