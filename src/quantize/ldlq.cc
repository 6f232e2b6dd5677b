#include "quantize/ldlq.h"

#include <Eigen/LU>
#include <algorithm>
#include <numeric>
#include <span>

#include "base/check.h"
#include "base/parallel.h"
#include "quantize/cholesky.h"
#include "quantize/damping.h"
#include "quantize/ldlq_kernel.h"
#include "quantize/matrix.h"

namespace steelyard::quantize {

// Defined in ldlq.simd.cc, once per target that has encoders.
#define TARGET(enumerator, name, encoders, ...) \
  namespace encoders {                          \
  extern const LdlqKernel kLdlqKernel;          \
  }
#include "simd/targets.def"
#undef TARGET

namespace {

// Picks the target of the format's own steps.
LdlqKernel kernel_for(const formats::Format& format) {
  static constexpr simd::PerTarget<LdlqKernel> kKernels({
#define TARGET(enumerator, name, encoders, ...) &encoders::kLdlqKernel,
#include "simd/targets.def"
#undef TARGET
  });
  for (const simd::Target target : simd::supported_targets()) {
    if (simd::target_name(target) == format.target) return kKernels[target];
  }
  STEELYARD_CHECK(!"a format of no target");
}

// R of H; empty if H is not positive definite. With rows and columns reversed, R R^T is Cholesky's L L^T.
std::optional<FloatMatrix> upper_factor(const DoubleMatrix& hessian) {
  const Eigen::Index n = hessian.rows();
  DoubleMatrix turned(n, n);
  parallel_for(n, 64, [&](int64_t i) { turned.row(i) = hessian.row(n - 1 - i).reverse(); });
  if (!cholesky(turned)) return std::nullopt;
  FloatMatrix upper(n, n);
  parallel_for(n, 64, [&](int64_t i) {
    upper.row(i).head(i).setZero();
    upper.row(i).tail(n - i) = turned.row(n - 1 - i).head(n - i).reverse().cast<float>();
  });
  if (!upper.allFinite() || !(upper.diagonal().minCoeff() > 0.0f)) return std::nullopt;
  return upper;
}

// The matrix in panels (formats/ldlq_inputs.h).
template <typename Matrix>
std::vector<float> in_panels(const Matrix& matrix) {
  const Eigen::Index n = matrix.rows();
  std::vector<float> panels(static_cast<size_t>(n * n));
  parallel_for((n + formats::kPanelLen - 1) / formats::kPanelLen, 1, [&](int64_t panel) {
    const Eigen::Index begin = panel * formats::kPanelLen,
                       width = std::min<Eigen::Index>(formats::kPanelLen, n - begin);
    Eigen::Map<FloatMatrix>(panels.data() + begin * n, n, width) =
        matrix.middleCols(begin, width).template cast<float>();
  });
  return panels;
}

// Adds a part of its block's mean to each weight.
void add_weight_floor(std::vector<float>& weights, int64_t block_len, float part) {
  for (size_t at = 0; at < weights.size(); at += static_cast<size_t>(block_len)) {
    const std::span<float> block = std::span(weights).subspan(at, static_cast<size_t>(block_len));
    const float mean = std::accumulate(block.begin(), block.end(), 0.0f) / static_cast<float>(block_len);
    for (float& weight : block) weight += part * mean;
  }
}

}  // namespace

std::optional<LdlqEncoder> LdlqEncoder::make(const formats::Format& format, int64_t n, const float* hessian,
                                             const LdlqSettings& settings, formats::DeviceEncoder* device) {
  STEELYARD_CHECK(format.encoder != nullptr && n % format.block_len == 0 && formats::kPanelLen % format.block_len == 0);
  STEELYARD_CHECK(format.block_len % formats::kPanelStep == 0);
  DoubleMatrix h = FloatMatrixView(hessian, n, n).cast<double>();
  if (!h.allFinite() || !(h.diagonal().mean() > 0.0)) return std::nullopt;
  damp(h, settings.damping);
  const std::optional<FloatMatrix> factor = upper_factor(h);
  if (!factor) return std::nullopt;

  LdlqEncoder encoder(format, n, settings, device != nullptr && device->encodes(format.type) ? device : nullptr);
  encoder.factor_ = in_panels(*factor);
  encoder.hessian_ = in_panels(h);
  const int vector_dim = format.encoder->vector_dim;
  encoder.weights_.resize(static_cast<size_t>(n));
  encoder.vector_inverse_.resize(static_cast<size_t>(n * vector_dim));
  parallel_for(n / vector_dim, 16, [&](int64_t group) {
    const int64_t i = group * vector_dim;
    const FloatMatrix triangle = factor->block(i, i, vector_dim, vector_dim).triangularView<Eigen::Upper>();
    const FloatMatrix inverse = h.block(i, i, vector_dim, vector_dim).inverse().cast<float>();
    for (int j = 0; j < vector_dim; ++j) encoder.weights_[static_cast<size_t>(i + j)] = triangle.row(j).squaredNorm();
    std::copy_n(inverse.data(), vector_dim * vector_dim, encoder.vector_inverse_.data() + i * vector_dim);
  });
  add_weight_floor(encoder.weights_, format.block_len, settings.weight_floor);
  return encoder;
}

void LdlqEncoder::encode(const float* rows, int64_t n_rows, std::byte* out) const {
  const formats::LdlqInputs inputs{.n = n_,
                                   .factor = factor_.data(),
                                   .hessian = hessian_.data(),
                                   .weights = weights_.data(),
                                   .vector_inverse = vector_inverse_.data(),
                                   .shrinkage_compensation = settings_.shrinkage_compensation,
                                   .passes = settings_.passes,
                                   .effort = static_cast<int64_t>(settings_.effort)};
  if (device_ != nullptr) return device_->encode_ldlq(format_->type, inputs, rows, n_rows, out);
  const LdlqKernel kernel = kernel_for(*format_);
  const int64_t n_blocks = n_ / format_->block_len;
  parallel_for((n_rows + kLdlqTileRows - 1) / kLdlqTileRows, 1, [&](int64_t t) {
    const int64_t begin = t * kLdlqTileRows, n = std::min<int64_t>(kLdlqTileRows, n_rows - begin);
    std::vector<float> errors(static_cast<size_t>(kLdlqTileRows * n_)),
        products(size_t{kLdlqTileRows} * formats::kPanelLen);
    std::vector<AnyScales> scales(static_cast<size_t>(kLdlqTileRows * n_blocks));
    std::vector<uint32_t> codes(static_cast<size_t>(kLdlqTileRows * n_ / format_->encoder->vector_dim));
    kernel(*format_, inputs, rows + begin * n_, n, {errors.data(), products.data(), scales.data(), codes.data()},
           out + begin * n_blocks * format_->block_bytes);
  });
}

double output_error(int64_t n, const float* hessian, const float* linear_term, const float* rows, const float* decoded,
                    int64_t n_rows) {
  const FloatMatrix errors = FloatMatrixView(rows, n_rows, n) - FloatMatrixView(decoded, n_rows, n);
  FloatMatrix product = errors * FloatMatrixView(hessian, n, n);
  if (linear_term != nullptr) product += 2.0f * FloatMatrixView(linear_term, n_rows, n);
  return errors.cwiseProduct(product).cast<double>().sum() / static_cast<double>(n_rows);
}

}  // namespace steelyard::quantize
