#include "quantize/correction.h"

#include <Eigen/Cholesky>

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
  Eigen::LLT<DoubleMatrix> cholesky;
};

// What is factored is a copy: H goes before the rows come.
Correction::Correction(const std::vector<float>& hessian, int64_t n, double ridge) : n_(n) {
  DoubleMatrix h = view(hessian, n).cast<double>();
  damp(h, ridge);
  factor_.reset(new Factor{Eigen::LLT<DoubleMatrix>(h)});
}

Correction::~Correction() = default;

std::vector<float> Correction::corrected(const std::vector<float>& rows, const std::vector<float>& linear_term) const {
  if (linear_term.empty() || factor_->cholesky.info() != Eigen::Success) return rows;
  const DoubleMatrix step = factor_->cholesky.solve(view(linear_term, n_).cast<double>().transpose());
  if (!step.allFinite()) return rows;
  std::vector<float> result(rows.size());
  Eigen::Map<FloatMatrix>(result.data(), step.cols(), n_) = view(rows, n_) + step.transpose().cast<float>();
  return result;
}

}  // namespace steelyard::quantize
