// Slices are independent of each other: each is decoded, rounded in every way and judged by itself.
#include "calibrate/rounding_choice.h"

#include <algorithm>
#include <cmath>
#include <mutex>
#include <span>

#include "base/check.h"
#include "base/error.h"
#include "base/parallel.h"
#include "quantize/correction.h"
#include "quantize/encode.h"

namespace steelyard::calibrate {
namespace {

// One slice of a tensor, rounded by every method.
class RoundedSlice {
 public:
  RoundedSlice(const formats::Format& to, int64_t n_in, int64_t n_out, const std::vector<float>& rows,
               formats::DeviceEncoder* device)
      : to_(to), n_in_(n_in), n_out_(n_out), rows_(rows), device_(device) {}

  // mean: the mean of x x^T. Feedback rounds towards `target`, the other ways towards the rows themselves.
  void round(const std::vector<float>& mean, const std::vector<float>& target, const quantize::LdlqSettings& settings) {
    std::vector<float> diagonal(static_cast<size_t>(n_in_));
    for (int64_t i = 0; i < n_in_; ++i) diagonal[static_cast<size_t>(i)] = mean[static_cast<size_t>(i * n_in_ + i)];
    round_alone(nullptr, settings.effort, mutable_bytes(Rounding::kPlain));
    if (std::ranges::any_of(diagonal, [](float x) { return x > 0.0f; })) {
      round_alone(diagonal.data(), settings.effort, mutable_bytes(Rounding::kDiagonal));
    }
    if (const auto ldlq = quantize::LdlqEncoder::make(to_, n_in_, mean.data(), settings, device_)) {
      std::vector<std::byte>& bytes = mutable_bytes(Rounding::kLdlq);
      bytes.resize(n_bytes());
      ldlq->encode(target.data(), n_out_, bytes.data());
    }
  }

  // The way whose outputs lose least under this Hessian; fills `loss`. A way that was not possible is left out.
  Rounding best(const std::vector<float>& hessian, const std::vector<float>& linear_term,
                std::array<double, kRoundings>& loss) const {
    std::vector<float> decoded(rows_.size());
    const double whole = quantize::output_error(n_in_, hessian.data(), nullptr, rows_.data(), decoded.data(), n_out_);
    auto best = Rounding::kPlain;
    for (const Rounding rounding : {Rounding::kPlain, Rounding::kDiagonal, Rounding::kLdlq}) {
      if (bytes(rounding).empty()) continue;
      to_.decode(bytes(rounding).data(), n_out_ * n_in_ / to_.block_len, decoded.data());
      const double lost =
          quantize::output_error(n_in_, hessian.data(), linear_term.empty() ? nullptr : linear_term.data(),
                                 rows_.data(), decoded.data(), n_out_);
      double& own = loss[static_cast<size_t>(rounding)];
      own = whole > 0.0 ? lost / whole : 0.0;
      if (own <= loss[static_cast<size_t>(best)]) best = rounding;
    }
    return best;
  }

  const std::vector<std::byte>& bytes(Rounding rounding) const { return bytes_[static_cast<size_t>(rounding)]; }

 private:
  std::vector<std::byte>& mutable_bytes(Rounding rounding) { return bytes_[static_cast<size_t>(rounding)]; }
  size_t row_bytes() const { return static_cast<size_t>(n_in_ / to_.block_len) * to_.block_bytes; }
  size_t n_bytes() const { return static_cast<size_t>(n_out_) * row_bytes(); }

  // No weight knows of another's error.
  void round_alone(const float* importance, formats::Effort effort, std::vector<std::byte>& bytes) const {
    bytes.resize(n_bytes());
    if (device_ != nullptr && device_->encodes(to_.type)) {
      return device_->encode(to_.type, rows_.data(), n_out_, n_in_, importance, effort, bytes.data());
    }
    parallel_for(n_out_, 16, [&](int64_t r) {
      to_.encoder->encode_row(rows_.data() + r * n_in_, importance, n_in_ / to_.block_len, effort,
                              bytes.data() + static_cast<size_t>(r) * row_bytes());
    });
  }

  const formats::Format& to_;
  int64_t n_in_, n_out_;
  const std::vector<float>& rows_;
  formats::DeviceEncoder* device_;
  std::array<std::vector<std::byte>, kRoundings> bytes_;  // empty: not possible
};

}  // namespace

RoundedTensor round_tensor(const gguf::Reader& source, const plan::Decision& decision, const HessianSums& watched,
                           const HessianSums* held_out, const RoundingSettings& settings) {
  const gguf::TensorInfo& tensor = *decision.tensor;
  const formats::Format& from = format(tensor.type);
  const formats::Format& to = format(decision.type);
  const int64_t n_in = tensor.ne[0], n_out = tensor.ne[1], n_slices = tensor.ne[2] * tensor.ne[3];
  STEELYARD_CHECK(watched.n == n_in && watched.n_slices == n_slices);
  const double prior = n_slices > 1 ? settings.expert_prior * static_cast<double>(n_in) : 0.0;
  const HessianSums& judges = held_out != nullptr ? *held_out : watched;
  const SliceMeans means(watched.sums, watched.counts, prior),
      cross_covariances(watched.cross_covariance, watched.counts, prior);
  const SliceMeans other_means(judges.sums, judges.counts, 0.0),
      other_cross_covariances(judges.cross_covariance, judges.counts, 0.0);
  const std::span<const std::byte> stored = source.bytes(tensor);
  RoundedTensor result{std::vector<std::byte>(static_cast<size_t>(decision.bytes)), {tensor.name, {}, {}}};
  const size_t from_bytes = stored.size() / static_cast<size_t>(n_slices);
  const size_t to_bytes = result.bytes.size() / static_cast<size_t>(n_slices);

  std::mutex reporting;
  // Slices run in parallel; within a single slice its rows do.
  parallel_for(n_slices, 1, [&](int64_t s) {
    std::vector<float> rows(static_cast<size_t>(n_out * n_in));
    from.decode(stored.data() + static_cast<size_t>(s) * from_bytes, n_out * n_in / from.block_len, rows.data());
    if (const auto bad = std::ranges::find_if_not(rows, [](float x) { return std::isfinite(x); }); bad != rows.end()) {
      const int64_t at = bad - rows.begin();
      throw quantize::BadWeight(source.path(),
                                fmt::format("tensor {} holds {} in row {}, column {}", printable(tensor.name), *bad,
                                            s * n_out + at / n_in, at % n_in));
    }
    const std::vector<float> mean = means.of_slice(s),
                             linear_term = quantize::compute_linear_term(rows, cross_covariances.of_slice(s), n_in);
    const double n_inputs = means.n_inputs(s);
    quantize::LdlqSettings ldlq = settings.ldlq;
    ldlq.damping = settings.damping.at(n_in, n_inputs);
    RoundedSlice slice(to, n_in, n_out, rows, settings.device);
    slice.round(mean, quantize::corrected(rows, linear_term, mean, n_in, settings.ridge.at(n_in, n_inputs)), ldlq);
    std::array<double, kRoundings> loss = {};
    const bool judged = judges.counts[static_cast<size_t>(s)] > 0;
    const Rounding best =
        judged ? slice.best(other_means.of_slice(s),
                            quantize::compute_linear_term(rows, other_cross_covariances.of_slice(s), n_in), loss)
               : slice.best(mean, linear_term, loss);
    std::ranges::copy(slice.bytes(best), result.bytes.data() + static_cast<size_t>(s) * to_bytes);

    const std::lock_guard lock(reporting);
    for (size_t w = 0; w < kRoundings; ++w) result.report.loss[w] += loss[w] / static_cast<double>(n_slices);
    ++result.report.chosen[static_cast<size_t>(best)];
  });
  return result;
}

}  // namespace steelyard::calibrate
