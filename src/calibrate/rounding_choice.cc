// Slices are independent of each other: each is decoded, rounded in every way and judged by itself.
#include "calibrate/rounding_choice.h"

#include <algorithm>
#include <cmath>
#include <mutex>
#include <numeric>
#include <span>
#include <utility>

#include "base/check.h"
#include "base/error.h"
#include "base/parallel.h"
#include "quantize/correction.h"
#include "quantize/encode.h"

namespace steelyard::calibrate {
namespace {

// At the outputs of a slice, whose `rows` became `rounded`. linear_term: empty where there is none.
double error_of(int64_t n_in, const std::vector<float>& hessian, const std::vector<float>& linear_term,
                const std::vector<float>& rows, const std::vector<float>& rounded, int64_t n_out) {
  return quantize::output_error(n_in, hessian.data(), linear_term.empty() ? nullptr : linear_term.data(), rows.data(),
                                rounded.data(), n_out);
}

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

  // The way whose outputs lose least under this Hessian, and their error; fills `loss`. A way that was not possible is
  // left out.
  std::pair<Rounding, double> best(const std::vector<float>& hessian, const std::vector<float>& linear_term,
                                   std::array<double, kRoundings>& loss) const {
    std::vector<float> decoded(rows_.size());
    const double whole = quantize::output_error(n_in_, hessian.data(), nullptr, rows_.data(), decoded.data(), n_out_);
    auto best = Rounding::kPlain;
    double error = 0;
    for (const Rounding rounding : {Rounding::kPlain, Rounding::kDiagonal, Rounding::kLdlq}) {
      if (bytes(rounding).empty()) continue;
      to_.decode(bytes(rounding).data(), n_out_ * n_in_ / to_.block_len, decoded.data());
      const double lost = error_of(n_in_, hessian, linear_term, rows_, decoded, n_out_);
      double& own = loss[static_cast<size_t>(rounding)];
      own = whole > 0.0 ? lost / whole : 0.0;
      if (own > loss[static_cast<size_t>(best)]) continue;
      best = rounding;
      error = lost;
    }
    return {best, error};
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

// What is known of the inputs of a tensor's slices.
class SliceInputs {
 public:
  SliceInputs(const HessianSums& sums, double prior)
      : means_(sums.sums, sums.counts, prior), cross_covariances_(sums.cross_covariance, sums.counts, prior) {}

  double n_inputs(int64_t slice) const { return means_.n_inputs(slice); }
  std::vector<float> mean(int64_t slice) const { return means_.of_slice(slice); }
  std::vector<float> linear_term(int64_t slice, const std::vector<float>& rows, int64_t n_in) const {
    return quantize::compute_linear_term(rows, cross_covariances_.of_slice(slice), n_in);
  }

 private:
  SliceMeans means_, cross_covariances_;
};

// Part of the weight of the mean of all experts in each one's.
double expert_prior(const gguf::TensorInfo& tensor, const RoundingSettings& settings) {
  return tensor.ne[2] * tensor.ne[3] > 1 ? settings.expert_prior * static_cast<double>(tensor.ne[0]) : 0.0;
}

// n_out rows of a slice in every way.
RoundedSlice rounded(const formats::Format& to, const std::vector<float>& rows, int64_t n_in, int64_t n_out,
                     const SliceInputs& inputs, int64_t slice, const RoundingSettings& settings) {
  const std::vector<float> mean = inputs.mean(slice);
  const double n_inputs = inputs.n_inputs(slice);
  quantize::LdlqSettings ldlq = settings.ldlq;
  ldlq.damping = settings.damping.at(n_in, n_inputs);
  RoundedSlice result(to, n_in, n_out, rows, settings.device);
  result.round(
      mean,
      quantize::corrected(rows, inputs.linear_term(slice, rows, n_in), mean, n_in, settings.ridge.at(n_in, n_inputs)),
      ldlq);
  return result;
}

// The weights of one slice.
std::vector<float> slice_rows(const gguf::Reader& source, const gguf::TensorInfo& tensor, int64_t slice) {
  const formats::Format& from = format(tensor.type);
  const int64_t n_in = tensor.ne[0], n_out = tensor.ne[1];
  const std::span<const std::byte> stored = source.bytes(tensor);
  const size_t slice_bytes = stored.size() / static_cast<size_t>(tensor.ne[2] * tensor.ne[3]);
  std::vector<float> rows(static_cast<size_t>(n_out * n_in));
  from.decode(stored.data() + static_cast<size_t>(slice) * slice_bytes, n_out * n_in / from.block_len, rows.data());
  if (const auto bad = std::ranges::find_if_not(rows, [](float x) { return std::isfinite(x); }); bad != rows.end()) {
    const int64_t at = bad - rows.begin();
    throw quantize::BadWeight(source.path(),
                              fmt::format("tensor {} holds {} in row {}, column {}", printable(tensor.name), *bad,
                                          slice * n_out + at / n_in, at % n_in));
  }
  return rows;
}

// A tensor, what it is rounded with, and what its slices are judged by.
struct Judged {
  Judged(const gguf::TensorInfo& tensor, const HessianSums& watched, const HessianSums* held_out,
         const RoundingSettings& settings)
      : n_in(tensor.ne[0]),
        n_out(tensor.ne[1]),
        n_slices(tensor.ne[2] * tensor.ne[3]),
        inputs(watched, expert_prior(tensor, settings)),
        judges(held_out != nullptr ? *held_out : watched),
        others(judges, 0.0) {
    STEELYARD_CHECK(watched.n == n_in && watched.n_slices == n_slices);
  }

  const SliceInputs& judge(int64_t slice) const {
    return judges.counts[static_cast<size_t>(slice)] > 0 ? others : inputs;
  }

  int64_t n_in, n_out, n_slices;
  SliceInputs inputs;
  const HessianSums& judges;
  SliceInputs others;
};

}  // namespace

RoundedTensor round_tensor(const gguf::Reader& source, const plan::Decision& decision, const HessianSums& watched,
                           const HessianSums* held_out, const RoundingSettings& settings) {
  const gguf::TensorInfo& tensor = *decision.tensor;
  const formats::Format& to = format(decision.type);
  const Judged judged(tensor, watched, held_out, settings);
  RoundedTensor result{std::vector<std::byte>(static_cast<size_t>(decision.bytes)),
                       {tensor.name, {}, {}},
                       std::vector<double>(static_cast<size_t>(judged.n_slices))};
  const size_t to_bytes = result.bytes.size() / static_cast<size_t>(judged.n_slices);

  std::mutex reporting;
  // Slices run in parallel; within a single slice its rows do.
  parallel_for(judged.n_slices, 1, [&](int64_t s) {
    const std::vector<float> rows = slice_rows(source, tensor, s);
    const RoundedSlice slice = rounded(to, rows, judged.n_in, judged.n_out, judged.inputs, s, settings);
    const SliceInputs& judge = judged.judge(s);
    std::array<double, kRoundings> loss = {};
    const auto [best, error] = slice.best(judge.mean(s), judge.linear_term(s, rows, judged.n_in), loss);
    result.error[static_cast<size_t>(s)] = error;
    std::ranges::copy(slice.bytes(best), result.bytes.data() + static_cast<size_t>(s) * to_bytes);

    const std::lock_guard lock(reporting);
    for (size_t w = 0; w < kRoundings; ++w) result.report.loss[w] += loss[w] / static_cast<double>(judged.n_slices);
    ++result.report.chosen[static_cast<size_t>(best)];
  });
  return result;
}

std::vector<double> sampled_error(const gguf::Reader& source, const plan::Decision& decision,
                                  const HessianSums& watched, const HessianSums* held_out,
                                  const RoundingSettings& settings, const ErrorSample& sample) {
  const gguf::TensorInfo& tensor = *decision.tensor;
  const Judged judged(tensor, watched, held_out, settings);
  std::vector<int64_t> by_rank(static_cast<size_t>(judged.n_slices));
  std::iota(by_rank.begin(), by_rank.end(), 0);
  std::ranges::stable_sort(by_rank, {}, [&](int64_t s) { return sample.ranks[static_cast<size_t>(s)]; });
  const int64_t n_taken = std::min(sample.n_slices, judged.n_slices), n_rows = std::min(sample.n_rows, judged.n_out);
  std::vector<double> taken(static_cast<size_t>(n_taken)), error(by_rank.size());
  // The middle of each of n_taken parts.
  const auto part = [&](int64_t rank) { return rank * n_taken / judged.n_slices; };
  const auto middle = [&](int64_t i) { return (2 * i + 1) * judged.n_slices / (2 * n_taken); };
  parallel_for(n_taken, 1, [&](int64_t i) {
    const int64_t s = by_rank[static_cast<size_t>(middle(i))];
    const std::vector<float> all = slice_rows(source, tensor, s);
    std::vector<float> rows;
    for (int64_t r = 0; r < n_rows; ++r) {
      const auto row = all.begin() + r * judged.n_out / n_rows * judged.n_in;
      rows.insert(rows.end(), row, row + judged.n_in);
    }
    const RoundedSlice slice = rounded(format(decision.type), rows, judged.n_in, n_rows, judged.inputs, s, settings);
    const SliceInputs& judge = judged.judge(s);
    std::array<double, kRoundings> loss = {};
    taken[static_cast<size_t>(i)] = slice.best(judge.mean(s), judge.linear_term(s, rows, judged.n_in), loss).second;
  });
  for (int64_t rank = 0; rank < judged.n_slices; ++rank)
    error[static_cast<size_t>(by_rank[static_cast<size_t>(rank)])] = taken[static_cast<size_t>(part(rank))];
  return error;
}

std::vector<double> rounding_error(const gguf::Reader& source, const plan::Decision& decision,
                                   std::span<const std::byte> bytes, const HessianSums& watched,
                                   const HessianSums* held_out, const RoundingSettings& settings) {
  const gguf::TensorInfo& tensor = *decision.tensor;
  const formats::Format& to = format(decision.type);
  const Judged judged(tensor, watched, held_out, settings);
  std::vector<double> error(static_cast<size_t>(judged.n_slices));
  const size_t slice_bytes = bytes.size() / error.size();
  parallel_for(judged.n_slices, 1, [&](int64_t s) {
    const std::vector<float> rows = slice_rows(source, tensor, s);
    std::vector<float> decoded(rows.size());
    to.decode(bytes.data() + static_cast<size_t>(s) * slice_bytes, std::ssize(rows) / to.block_len, decoded.data());
    const SliceInputs& judge = judged.judge(s);
    error[static_cast<size_t>(s)] =
        error_of(judged.n_in, judge.mean(s), judge.linear_term(s, rows, judged.n_in), rows, decoded, judged.n_out);
  });
  return error;
}

TextLoss compare_texts(const gguf::Reader& source, const plan::Decision& decision, const HessianSums& part,
                       const HessianSums& all, const HessianSums& held_out, const RoundingSettings& settings) {
  constexpr int64_t kRows = 128;
  const gguf::TensorInfo& tensor = *decision.tensor;
  const formats::Format& from = format(tensor.type);
  const int64_t n_in = tensor.ne[0], n_out = tensor.ne[1], n_slices = tensor.ne[2] * tensor.ne[3];
  std::vector<int64_t> slices(static_cast<size_t>(n_slices));
  std::iota(slices.begin(), slices.end(), 0);
  const auto median = slices.begin() + n_slices / 2;
  std::ranges::nth_element(slices, median, {}, [&](int64_t s) { return all.counts[static_cast<size_t>(s)]; });
  if (held_out.counts[static_cast<size_t>(*median)] == 0) return {};

  const int64_t n_rows = std::min(kRows, n_out);
  const std::span<const std::byte> stored = source.bytes(tensor);
  std::vector<float> rows(static_cast<size_t>(n_rows * n_in));
  from.decode(stored.data() + stored.size() / static_cast<size_t>(n_slices) * static_cast<size_t>(*median),
              n_rows * n_in / from.block_len, rows.data());
  const SliceInputs judge(held_out, 0.0);
  const auto lost = [&](const HessianSums& watched) {
    const RoundedSlice slice = rounded(format(decision.type), rows, n_in, n_rows,
                                       {watched, expert_prior(tensor, settings)}, *median, settings);
    std::array<double, kRoundings> loss = {};
    slice.best(judge.mean(*median), judge.linear_term(*median, rows, n_in), loss);
    return loss[static_cast<size_t>(Rounding::kLdlq)];
  };
  const TextLoss loss{lost(part), lost(all)};
  return loss.part > 0.0 && loss.all > 0.0 ? loss : TextLoss{};
}

}  // namespace steelyard::calibrate
