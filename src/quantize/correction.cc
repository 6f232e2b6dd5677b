#include "quantize/correction.h"

#include <Eigen/Cholesky>

#include "quantize/damping.h"
#include "quantize/matrix.h"

namespace steelyard {
namespace {

RowsView view(const std::vector<float>& values, int64_t n) {
  return {values.data(), static_cast<int64_t>(values.size()) / n, n};
}

}  // namespace

std::vector<float> pull_of(const std::vector<float>& rows, const std::vector<float>& drift, int64_t n) {
  if (drift.empty()) return {};
  std::vector<float> pull(rows.size());
  Eigen::Map<Rows>(pull.data(), static_cast<int64_t>(rows.size()) / n, n).noalias() = view(rows, n) * view(drift, n);
  return pull;
}

std::vector<float> corrected(const std::vector<float>& rows, const std::vector<float>& pull,
                             const std::vector<float>& moments, int64_t n, double ridge) {
  if (pull.empty()) return rows;
  Doubles h = view(moments, n).cast<double>();
  damp(h, ridge);
  const Eigen::LLT<Doubles> cholesky(h);
  if (cholesky.info() != Eigen::Success) return rows;
  const Doubles step = cholesky.solve(view(pull, n).cast<double>().transpose());
  if (!step.allFinite()) return rows;
  std::vector<float> result(rows.size());
  Eigen::Map<Rows>(result.data(), step.cols(), n) = view(rows, n) + step.transpose().cast<float>();
  return result;
}

}  // namespace steelyard
