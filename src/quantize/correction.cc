#include "quantize/correction.h"

#include <utility>

#include "quantize/cholesky.h"
#include "quantize/damping.h"
#include "quantize/matrix.h"

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
  Eigen::Map<FloatMatrix>(linear_term.data(), static_cast<int64_t>(rows.size()) / n, n).noalias() =
      view(rows, n) * view(cross_covariance, n);
  return linear_term;
}

struct Correction::Factor {
  DoubleMatrix lower;  // what is above the diagonal is not read
  bool exists;
};

// What is factored is a copy: H goes before the rows come.
Correction::Correction(const std::vector<float>& hessian, int64_t n, double ridge, formats::DeviceEncoder* device)
    : n_(n) {
  DoubleMatrix h = view(hessian, n).cast<double>();
  damp(h, ridge);
  const bool exists = cholesky(h, device);
  factor_.reset(new Factor{std::move(h), exists});
}

Correction::~Correction() = default;

std::vector<float> Correction::corrected(const std::vector<float>& rows, const std::vector<float>& linear_term) const {
  if (linear_term.empty() || !factor_->exists) return rows;
  DoubleMatrix step = view(linear_term, n_).cast<double>().transpose();
  const auto lower = factor_->lower.triangularView<Eigen::Lower>();
  lower.solveInPlace(step);
  lower.transpose().solveInPlace(step);
  if (!step.allFinite()) return rows;
  std::vector<float> result(rows.size());
  Eigen::Map<FloatMatrix>(result.data(), step.cols(), n_) = view(rows, n_) + step.transpose().cast<float>();
  return result;
}

}  // namespace steelyard::quantize
