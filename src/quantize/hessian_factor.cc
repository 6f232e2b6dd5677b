// One matrix of F64 is damped, copied as panels, turned and factored where it lies.
#include "quantize/hessian_factor.h"

#include <Eigen/LU>
#include <algorithm>
#include <cmath>
#include <utility>

#include "base/check.h"
#include "base/parallel.h"
#include "formats/encoder.h"
#include "formats/ldlq_inputs.h"
#include "quantize/cholesky.h"
#include "quantize/damping.h"
#include "quantize/matrix.h"

namespace steelyard::quantize {
namespace {

constexpr int64_t kBlock = formats::kMaxVectorDim;

// The matrix in panels, with the value that `value` has for row and column.
template <typename Value>
std::vector<float> in_panels(int64_t n, const Value& value) {
  std::vector<float> panels(static_cast<size_t>(n * n));
  parallel_for((n + formats::kPanelLen - 1) / formats::kPanelLen, 1, [&](int64_t panel) {
    const int64_t begin = panel * formats::kPanelLen, end = std::min(begin + formats::kPanelLen, n);
    float* out = panels.data() + begin * n;
    for (int64_t row = 0; row < n; ++row) {
      for (int64_t column = begin; column < end; ++column) *out++ = static_cast<float>(value(row, column));
    }
  });
  return panels;
}

// Rows and columns reversed, which is the reverse of all values.
void turn(DoubleMatrix& h) {
  const Eigen::Index n = h.rows();
  parallel_for(n / 2, 64, [&](int64_t i) {
    double *const above = h.row(i).data(), *const below = h.row(n - 1 - i).data();
    for (Eigen::Index j = 0; j < n; ++j) std::swap(above[j], below[n - 1 - j]);
  });
  if (n % 2 == 1) std::reverse(h.row(n / 2).data(), h.row(n / 2).data() + n);
}

// Column k of row j of a square matrix in panels.
float in_panels_at(const std::vector<float>& panels, int64_t n, int64_t j, int64_t k) {
  const int64_t begin = k / formats::kPanelLen * formats::kPanelLen,
                width = std::min<int64_t>(formats::kPanelLen, n - begin);
  return panels[static_cast<size_t>(begin * n + j * width + k - begin)];
}

}  // namespace

std::shared_ptr<const HessianFactor> HessianFactor::make(int64_t n, const float* hessian, double damping) {
  STEELYARD_CHECK(n % kBlock == 0);
  DoubleMatrix h = FloatMatrixView(hessian, n, n).cast<double>();
  if (!h.allFinite() || !(h.diagonal().mean() > 0.0)) return nullptr;
  damp(h, damping);
  const std::shared_ptr<HessianFactor> result(new HessianFactor(n));
  result->hessian_ = in_panels(n, [&](int64_t i, int64_t j) { return h(i, j); });
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = i / kBlock * kBlock; j < (i / kBlock + 1) * kBlock; ++j) result->diagonal_.push_back(h(i, j));
  }

  // R of H: with rows and columns reversed, R R^T is Cholesky's L L^T.
  turn(h);
  if (!cholesky(h)) return nullptr;
  result->factor_ = in_panels(n, [&](int64_t i, int64_t j) { return j < i ? 0.0 : h(n - 1 - i, n - 1 - j); });
  for (int64_t i = 0; i < n; ++i) {
    if (!(in_panels_at(result->factor_, n, i, i) > 0.0f)) return nullptr;
  }
  if (!std::ranges::all_of(result->factor_, [](float x) { return std::isfinite(x); })) return nullptr;
  return result;
}

std::vector<float> HessianFactor::weights(int vector_dim) const {
  std::vector<float> weights(static_cast<size_t>(n_));
  parallel_for(n_ / vector_dim, 16, [&](int64_t group) {
    const int64_t begin = group * vector_dim;
    FloatMatrix triangle = FloatMatrix::Zero(vector_dim, vector_dim);
    for (int64_t i = 0; i < vector_dim; ++i) {
      for (int64_t j = i; j < vector_dim; ++j) triangle(i, j) = in_panels_at(factor_, n_, begin + i, begin + j);
    }
    for (int64_t i = 0; i < vector_dim; ++i) weights[static_cast<size_t>(begin + i)] = triangle.row(i).squaredNorm();
  });
  return weights;
}

std::vector<float> HessianFactor::inverses(int vector_dim) const {
  STEELYARD_CHECK(kBlock % vector_dim == 0);
  std::vector<float> inverses(static_cast<size_t>(n_ * vector_dim));
  parallel_for(n_ / vector_dim, 16, [&](int64_t group) {
    const int64_t begin = group * vector_dim;
    DoubleMatrix block(vector_dim, vector_dim);
    for (int64_t i = 0; i < vector_dim; ++i) {
      for (int64_t j = 0; j < vector_dim; ++j)
        block(i, j) = diagonal_[static_cast<size_t>((begin + i) * kBlock + begin % kBlock + j)];
    }
    const FloatMatrix inverse = block.inverse().cast<float>();
    std::copy_n(inverse.data(), vector_dim * vector_dim, inverses.data() + begin * vector_dim);
  });
  return inverses;
}

}  // namespace steelyard::quantize
