#include "quantize/ldlq.h"

#include <algorithm>
#include <numeric>
#include <span>
#include <utility>

#include "base/check.h"
#include "base/parallel.h"
#include "quantize/ldlq_kernel.h"
#include "quantize/matrix.h"
#include "quantize/products.h"

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
  auto factor = HessianFactor::make(n, hessian, settings.damping);
  if (factor == nullptr) return std::nullopt;
  return LdlqEncoder(format, std::move(factor), settings, device);
}

LdlqEncoder::LdlqEncoder(const formats::Format& format, std::shared_ptr<const HessianFactor> factor,
                         const LdlqSettings& settings, formats::DeviceEncoder* device)
    : format_(&format),
      factor_(std::move(factor)),
      settings_(settings),
      device_(device != nullptr && device->encodes(format.type) ? device : nullptr),
      weights_(factor_->weights(format.encoder->vector_dim)),
      vector_inverse_(factor_->inverses(format.encoder->vector_dim)) {
  STEELYARD_CHECK(factor_->n() % format.block_len == 0 && formats::kPanelLen % format.block_len == 0);
  STEELYARD_CHECK(format.block_len % formats::kPanelStep == 0);
  add_weight_floor(weights_, format.block_len, settings.weight_floor);
}

void LdlqEncoder::encode(const float* rows, int64_t n_rows, std::byte* out) const {
  const formats::LdlqInputs inputs{.n = factor_->n(),
                                   .factor = factor_->factor(),
                                   .hessian = factor_->hessian(),
                                   .weights = weights_.data(),
                                   .vector_inverse = vector_inverse_.data(),
                                   .shrinkage_compensation = settings_.shrinkage_compensation,
                                   .passes = settings_.passes,
                                   .effort = static_cast<int64_t>(settings_.effort)};
  if (device_ != nullptr) return device_->encode_ldlq(format_->type, inputs, rows, n_rows, out);
  const LdlqKernel kernel = kernel_for(*format_);
  const int64_t n = inputs.n, n_blocks = n / format_->block_len;
  parallel_for((n_rows + kLdlqTileRows - 1) / kLdlqTileRows, 1, [&](int64_t t) {
    const int64_t begin = t * kLdlqTileRows, n_here = std::min<int64_t>(kLdlqTileRows, n_rows - begin);
    std::vector<float> errors(static_cast<size_t>(kLdlqTileRows * n)),
        products(size_t{kLdlqTileRows} * formats::kPanelLen);
    std::vector<AnyScales> scales(static_cast<size_t>(kLdlqTileRows * n_blocks));
    std::vector<uint32_t> codes(static_cast<size_t>(kLdlqTileRows * n / format_->encoder->vector_dim));
    kernel(*format_, inputs, rows + begin * n, n_here, {errors.data(), products.data(), scales.data(), codes.data()},
           out + begin * n_blocks * format_->block_bytes);
  });
}

double output_error(int64_t n, const float* hessian, const float* linear_term, const float* rows, const float* decoded,
                    int64_t n_rows) {
  const FloatMatrix errors = FloatMatrixView(rows, n_rows, n) - FloatMatrixView(decoded, n_rows, n);
  FloatMatrix product(n_rows, n);
  multiply(n_rows, n, n, errors.data(), hessian, product.data());
  if (linear_term != nullptr) product += 2.0f * FloatMatrixView(linear_term, n_rows, n);
  return errors.cwiseProduct(product).cast<double>().sum() / static_cast<double>(n_rows);
}

}  // namespace steelyard::quantize
