#include "quantize/feedback.h"

#include <Eigen/LU>
#include <algorithm>
#include <numeric>
#include <span>

#include "base/check.h"
#include "base/parallel.h"
#include "quantize/cholesky.h"
#include "quantize/damping.h"
#include "quantize/feedback_kernel.h"
#include "quantize/matrix.h"

namespace steelyard {

// Defined in feedback.simd.cc, once per target that has encoders.
#define TARGET(enumerator, name, encoders, ...) \
  namespace encoders {                          \
  extern const FeedbackKernel kFeedbackKernel;  \
  }
#include "simd/targets.def"
#undef TARGET

namespace {

// Picks the target of the format's own steps.
FeedbackKernel kernel_for(const Format& format) {
  static constexpr simd::PerTarget<FeedbackKernel> kKernels({
#define TARGET(enumerator, name, encoders, ...) &encoders::kFeedbackKernel,
#include "simd/targets.def"
#undef TARGET
  });
  for (const simd::Target target : simd::supported_targets()) {
    if (simd::target_name(target) == format.target) return kKernels[target];
  }
  STEELYARD_CHECK(!"a format of no target");
}

// R of H; empty if H is not positive definite. With rows and columns reversed, R R^T is Cholesky's L L^T.
std::optional<Rows> upper_factor(const Doubles& moments) {
  const Eigen::Index n = moments.rows();
  Doubles turned(n, n);
  parallel_for(n, 64, [&](int64_t i) { turned.row(i) = moments.row(n - 1 - i).reverse(); });
  if (!cholesky(turned)) return std::nullopt;
  Rows upper(n, n);
  parallel_for(n, 64, [&](int64_t i) {
    upper.row(i).head(i).setZero();
    upper.row(i).tail(n - i) = turned.row(n - 1 - i).head(n - i).reverse().cast<float>();
  });
  if (!upper.allFinite() || !(upper.diagonal().minCoeff() > 0.0f)) return std::nullopt;
  return upper;
}

// The matrix in panels (formats/feedback_inputs.h).
template <typename Matrix>
std::vector<float> in_panels(const Matrix& matrix) {
  const Eigen::Index n = matrix.rows();
  std::vector<float> panels(static_cast<size_t>(n * n));
  parallel_for((n + kPanelLen - 1) / kPanelLen, 1, [&](int64_t panel) {
    const Eigen::Index begin = panel * kPanelLen, width = std::min<Eigen::Index>(kPanelLen, n - begin);
    Eigen::Map<Rows>(panels.data() + begin * n, n, width) = matrix.middleCols(begin, width).template cast<float>();
  });
  return panels;
}

// Adds a part of its block's mean to each weight.
void raise_least(std::vector<float>& weights, int64_t block_len, float part) {
  for (size_t at = 0; at < weights.size(); at += static_cast<size_t>(block_len)) {
    const std::span<float> block = std::span(weights).subspan(at, static_cast<size_t>(block_len));
    const float mean = std::accumulate(block.begin(), block.end(), 0.0f) / static_cast<float>(block_len);
    for (float& weight : block) weight += part * mean;
  }
}

}  // namespace

std::optional<FeedbackEncoder> FeedbackEncoder::make(const Format& format, int64_t n, const float* moments,
                                                     const FeedbackSettings& settings, DeviceEncoder* device) {
  STEELYARD_CHECK(format.encoder != nullptr && n % format.block_len == 0 && kPanelLen % format.block_len == 0);
  STEELYARD_CHECK(format.block_len % kPanelStep == 0);
  Doubles h = RowsView(moments, n, n).cast<double>();
  if (!h.allFinite() || !(h.diagonal().mean() > 0.0)) return std::nullopt;
  damp(h, settings.damping);
  const std::optional<Rows> factor = upper_factor(h);
  if (!factor) return std::nullopt;

  FeedbackEncoder encoder(format, n, settings, device != nullptr && device->encodes(format.type) ? device : nullptr);
  encoder.factor_ = in_panels(*factor);
  encoder.moments_ = in_panels(h);
  const int joint = format.encoder->joint;
  encoder.weights_.resize(static_cast<size_t>(n));
  encoder.group_inverse_.resize(static_cast<size_t>(n * joint));
  parallel_for(n / joint, 16, [&](int64_t group) {
    const int64_t i = group * joint;
    const Rows triangle = factor->block(i, i, joint, joint).triangularView<Eigen::Upper>();
    const Rows inverse = h.block(i, i, joint, joint).inverse().cast<float>();
    for (int j = 0; j < joint; ++j) encoder.weights_[static_cast<size_t>(i + j)] = triangle.row(j).squaredNorm();
    std::copy_n(inverse.data(), joint * joint, encoder.group_inverse_.data() + i * joint);
  });
  raise_least(encoder.weights_, format.block_len, settings.least_weight);
  return encoder;
}

void FeedbackEncoder::encode(const float* rows, int64_t n_rows, std::byte* out) const {
  const FeedbackInputs inputs{.n = n_,
                              .factor = factor_.data(),
                              .moments = moments_.data(),
                              .weights = weights_.data(),
                              .group_inverse = group_inverse_.data(),
                              .given_back = settings_.given_back,
                              .passes = settings_.passes,
                              .effort = static_cast<int64_t>(settings_.effort)};
  if (device_ != nullptr) return device_->encode_with_feedback(format_->type, inputs, rows, n_rows, out);
  const FeedbackKernel kernel = kernel_for(*format_);
  const int64_t n_blocks = n_ / format_->block_len;
  parallel_for((n_rows + kFeedbackRows - 1) / kFeedbackRows, 1, [&](int64_t t) {
    const int64_t begin = t * kFeedbackRows, n = std::min<int64_t>(kFeedbackRows, n_rows - begin);
    std::vector<float> errors(static_cast<size_t>(kFeedbackRows * n_)), products(size_t{kFeedbackRows} * kPanelLen);
    std::vector<AnyScales> scales(static_cast<size_t>(kFeedbackRows * n_blocks));
    std::vector<uint32_t> codes(static_cast<size_t>(kFeedbackRows * n_ / format_->encoder->joint));
    kernel(*format_, inputs, rows + begin * n_, n, {errors.data(), products.data(), scales.data(), codes.data()},
           out + begin * n_blocks * format_->block_bytes);
  });
}

double output_error(int64_t n, const float* moments, const float* pull, const float* rows, const float* decoded,
                    int64_t n_rows) {
  const Rows errors = RowsView(rows, n_rows, n) - RowsView(decoded, n_rows, n);
  Rows product = errors * RowsView(moments, n, n);
  if (pull != nullptr) product += 2.0f * RowsView(pull, n_rows, n);
  return errors.cwiseProduct(product).cast<double>().sum() / static_cast<double>(n_rows);
}

}  // namespace steelyard
