// Slices are independent of each other: each is decoded, rounded in every way and judged by itself.
#include "calibrate/rounding_choice.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>
#include <tuple>
#include <utility>

#include "base/check.h"
#include "base/error.h"
#include "base/nested_parallel.h"
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

// Some rows of one slice of a tensor, rounded by every method.
class SliceCandidates {
 public:
  SliceCandidates(const formats::Format& to, int64_t n_in, std::vector<float> rows, formats::DeviceEncoder* device)
      : to_(to), n_in_(n_in), n_out_(std::ssize(rows) / n_in), rows_(std::move(rows)), device_(device) {}

  const std::vector<float>& rows() const { return rows_; }

  // diagonal: of the mean of x x^T, whose factor is null where there is none. Feedback rounds towards `target`, the
  // other ways towards the rows themselves.
  void round(const std::vector<float>& diagonal, const std::vector<float>& target,
             const std::shared_ptr<const quantize::HessianFactor>& factor, const quantize::LdlqSettings& settings) {
    round_alone(nullptr, settings.effort, mutable_bytes(Rounding::kPlain));
    if (std::ranges::any_of(diagonal, [](float x) { return x > 0.0f; })) {
      round_alone(diagonal.data(), settings.effort, mutable_bytes(Rounding::kDiagonal));
    }
    if (factor == nullptr) return;
    std::vector<std::byte>& bytes = mutable_bytes(Rounding::kLdlq);
    bytes.resize(n_bytes());
    quantize::LdlqEncoder(to_, factor, settings, device_).encode(target.data(), n_out_, bytes.data());
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
  std::vector<std::byte> take(Rounding rounding) { return std::move(mutable_bytes(rounding)); }

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
  std::vector<float> rows_;
  formats::DeviceEncoder* device_;
  std::array<std::vector<std::byte>, kRoundings> bytes_;  // empty: not possible
};

// Part of the weight of the mean of all experts in each one's.
double expert_prior(const gguf::TensorInfo& tensor, const RoundingSettings& settings) {
  return tensor.ne[2] * tensor.ne[3] > 1 ? settings.expert_prior * static_cast<double>(tensor.ne[0]) : 0.0;
}

// Rounds rows of one slice of tensors with one input in every way. What they share lives no longer than it is needed:
// the cross-covariance until there are targets, the Hessian until there is a factor.
void round_slice(std::span<SliceCandidates> tensors, const SliceMeans& inputs, int64_t slice, int64_t n_in,
                 const RoundingSettings& settings, TimedLoop& timed) {
  Stopwatch watch;
  SliceHessians::Means mean = inputs.of_slice(slice);
  timed.add(Work::kMoments, watch.lap());
  const double n_inputs = inputs.n_inputs(slice);
  quantize::LdlqSettings ldlq = settings.ldlq;
  ldlq.damping = settings.damping.at(n_in, n_inputs);
  std::vector<std::vector<float>> targets;
  for (const SliceCandidates& tensor : tensors) {
    targets.push_back(quantize::compute_linear_term(tensor.rows(), mean.cross_covariance, n_in));
  }
  if (!std::exchange(mean.cross_covariance, {}).empty()) {
    const quantize::Correction correction(mean.hessian, n_in, settings.ridge.at(n_in, n_inputs));
    for (size_t i = 0; i < tensors.size(); ++i) targets[i] = correction.corrected(tensors[i].rows(), targets[i]);
  }
  std::vector<float> diagonal(static_cast<size_t>(n_in));
  for (int64_t i = 0; i < n_in; ++i) diagonal[static_cast<size_t>(i)] = mean.hessian[static_cast<size_t>(i * n_in + i)];
  const auto factor = quantize::HessianFactor::make(n_in, mean.hessian.data(), ldlq.damping);
  mean.hessian = {};
  timed.add(Work::kFactors, watch.lap());
  for (size_t i = 0; i < tensors.size(); ++i) {
    tensors[i].round(diagonal, targets[i].empty() ? tensors[i].rows() : targets[i], factor, ldlq);
  }
  timed.add(Work::kSearch, watch.lap());
}

// The weights of one slice.
std::vector<float> slice_rows(const gguf::Source& source, const gguf::TensorInfo& tensor, int64_t slice) {
  const formats::Format& from = format(tensor.type);
  const int64_t n_in = tensor.ne[0], n_out = tensor.ne[1];
  const uint64_t slice_bytes = tensor.n_bytes / static_cast<uint64_t>(tensor.ne[2] * tensor.ne[3]);
  const uint64_t begin = static_cast<uint64_t>(slice) * slice_bytes;
  const gguf::Bytes stored = source.read(tensor, begin, begin + slice_bytes);
  std::vector<float> rows(static_cast<size_t>(n_out * n_in));
  from.decode(stored.data(), n_out * n_in / from.block_len, rows.data());
  if (const auto bad = std::ranges::find_if_not(rows, [](float x) { return std::isfinite(x); }); bad != rows.end()) {
    const int64_t at = bad - rows.begin();
    throw quantize::BadWeight(source.path(),
                              fmt::format("tensor {} holds {} in row {}, column {}", printable(tensor.name), *bad,
                                          slice * n_out + at / n_in, at % n_in));
  }
  return rows;
}

// Tensors of one shape that read one input: what they are rounded with, and what their slices are judged by.
struct Judged {
  Judged(const gguf::TensorInfo& tensor, const SliceHessians& watched, const SliceHessians* held_out,
         const RoundingSettings& settings)
      : n_in(tensor.ne[0]),
        n_slices(tensor.ne[2] * tensor.ne[3]),
        inputs(watched, expert_prior(tensor, settings)),
        judges(held_out != nullptr ? *held_out : watched),
        others(judges, 0.0) {
    STEELYARD_CHECK(watched.n() == n_in && watched.n_slices() == n_slices);
    if (settings.times != nullptr) settings.times->add(Work::kMoments, watch.lap());  // the mean of all slices
  }

  SliceHessians::Means judge(int64_t slice, TimedLoop& timed) const {
    Stopwatch making;
    SliceHessians::Means means = (judges.count(slice) > 0 ? others : inputs).of_slice(slice);
    timed.add(Work::kMoments, making.lap());
    return means;
  }

  Stopwatch watch;
  int64_t n_in, n_slices;
  SliceMeans inputs;
  const SliceHessians& judges;
  SliceMeans others;
};

// What a rounded slice loses, by way of rounding, and which way loses least; without its bytes.
RoundedSlice verdict(const SliceCandidates& slice, const SliceHessians::Means& judge, int64_t n_in) {
  RoundedSlice result;
  std::tie(result.best, result.error) =
      slice.best(judge.hessian, quantize::compute_linear_term(slice.rows(), judge.cross_covariance, n_in), result.loss);
  return result;
}

}  // namespace

struct TensorRounding::Inputs : Judged {
  using Judged::Judged;
};

TensorRounding::TensorRounding(const gguf::Source& source, std::span<const plan::Decision* const> decisions,
                               const SliceHessians& watched, const SliceHessians* held_out,
                               const RoundingSettings& settings)
    : source_(&source),
      decisions_(decisions.begin(), decisions.end()),
      settings_(settings),
      inputs_(std::make_unique<Inputs>(*decisions[0]->tensor, watched, held_out, settings)) {
  for (const plan::Decision* decision : decisions) {
    const gguf::TensorInfo& tensor = *decision->tensor;
    STEELYARD_CHECK(tensor.ne[0] == inputs_->n_in && tensor.ne[2] * tensor.ne[3] == inputs_->n_slices);
  }
}
TensorRounding::TensorRounding(TensorRounding&&) noexcept = default;
TensorRounding::~TensorRounding() = default;

int64_t TensorRounding::n_slices() const { return inputs_->n_slices; }

std::vector<RoundedSlice> TensorRounding::round(int64_t slice, formats::DeviceEncoder* device, TimedLoop& timed) const {
  const int64_t n_in = inputs_->n_in;
  std::vector<SliceCandidates> candidates;
  for (const plan::Decision* decision : decisions_) {
    candidates.emplace_back(format(decision->type), n_in, slice_rows(*source_, *decision->tensor, slice), device);
  }
  round_slice(candidates, inputs_->inputs, slice, n_in, settings_, timed);
  const SliceHessians::Means judge = inputs_->judge(slice, timed);
  Stopwatch judging;
  std::vector<RoundedSlice> rounded;
  for (SliceCandidates& candidate : candidates) {
    rounded.push_back(verdict(candidate, judge, n_in));
    rounded.back().bytes = candidate.take(rounded.back().best);
  }
  timed.add(Work::kSearch, judging.lap());
  return rounded;
}

SliceAssembly::SliceAssembly(const plan::Decision& decision) {
  const gguf::TensorInfo& tensor = *decision.tensor;
  const auto n_slices = static_cast<size_t>(tensor.ne[2] * tensor.ne[3]);
  tensor_.bytes.resize(static_cast<size_t>(decision.bytes));
  tensor_.report.name = tensor.name;
  tensor_.error.resize(n_slices);
  loss_.resize(n_slices);
  best_.resize(n_slices);
}

void SliceAssembly::put(int64_t slice, const RoundedSlice& rounded) {
  const auto at = static_cast<size_t>(slice);
  STEELYARD_CHECK(at < loss_.size() && rounded.bytes.size() * loss_.size() == tensor_.bytes.size());
  std::ranges::copy(rounded.bytes, tensor_.bytes.data() + at * rounded.bytes.size());
  tensor_.error[at] = rounded.error;
  loss_[at] = rounded.loss;
  best_[at] = rounded.best;
}

RoundedTensor SliceAssembly::take() {
  for (size_t s = 0; s < loss_.size(); ++s) {
    for (size_t w = 0; w < kRoundings; ++w) tensor_.report.loss[w] += loss_[s][w] / static_cast<double>(loss_.size());
    ++tensor_.report.chosen[static_cast<size_t>(best_[s])];
  }
  return std::move(tensor_);
}

RoundedTensor round_tensor(const gguf::Source& source, const plan::Decision& decision, const SliceHessians& watched,
                           const SliceHessians* held_out, const RoundingSettings& settings) {
  const plan::Decision* const decisions[] = {&decision};
  const TensorRounding rounding(source, decisions, watched, held_out, settings);
  TimedLoop timed(settings.times);
  SliceAssembly tensor(decision);
  // Slices run in parallel; within a slice its rows do, where threads are left.
  parallel_for_few(rounding.n_slices(), settings.slices_at_once,
                   [&](int64_t s) { tensor.put(s, rounding.round(s, settings.device, timed).front()); });
  return tensor.take();
}

std::vector<double> sampled_error(const gguf::Source& source, const plan::Decision& decision,
                                  const SliceHessians& watched, const SliceHessians* held_out,
                                  const RoundingSettings& settings, const ErrorSample& sample) {
  const gguf::TensorInfo& tensor = *decision.tensor;
  const int64_t n_out = tensor.ne[1];
  const Judged judged(tensor, watched, held_out, settings);
  TimedLoop timed(settings.times);
  std::vector<int64_t> by_rank(static_cast<size_t>(judged.n_slices));
  std::iota(by_rank.begin(), by_rank.end(), 0);
  std::ranges::stable_sort(by_rank, {}, [&](int64_t s) { return sample.ranks[static_cast<size_t>(s)]; });
  const int64_t n_taken = std::min(sample.n_slices, judged.n_slices), n_rows = std::min(sample.n_rows, n_out);
  std::vector<double> taken(static_cast<size_t>(n_taken)), error(by_rank.size());
  // The middle of each of n_taken parts.
  const auto part = [&](int64_t rank) { return rank * n_taken / judged.n_slices; };
  const auto middle = [&](int64_t i) { return (2 * i + 1) * judged.n_slices / (2 * n_taken); };
  parallel_for_few(n_taken, settings.slices_at_once, [&](int64_t i) {
    const int64_t s = by_rank[static_cast<size_t>(middle(i))];
    const std::vector<float> all = slice_rows(source, tensor, s);
    std::vector<float> rows;
    for (int64_t r = 0; r < n_rows; ++r) {
      const auto row = all.begin() + r * n_out / n_rows * judged.n_in;
      rows.insert(rows.end(), row, row + judged.n_in);
    }
    SliceCandidates slice(format(decision.type), judged.n_in, std::move(rows), settings.device);
    round_slice(std::span(&slice, 1), judged.inputs, s, judged.n_in, settings, timed);
    taken[static_cast<size_t>(i)] = verdict(slice, judged.judge(s, timed), judged.n_in).error;
  });
  for (int64_t rank = 0; rank < judged.n_slices; ++rank)
    error[static_cast<size_t>(by_rank[static_cast<size_t>(rank)])] = taken[static_cast<size_t>(part(rank))];
  return error;
}

std::vector<double> rounding_error(const gguf::Source& source, const plan::Decision& decision,
                                   std::span<const std::byte> bytes, const SliceHessians& watched,
                                   const SliceHessians* held_out, const RoundingSettings& settings) {
  const gguf::TensorInfo& tensor = *decision.tensor;
  const formats::Format& to = format(decision.type);
  const Judged judged(tensor, watched, held_out, settings);
  TimedLoop timed(settings.times);
  std::vector<double> error(static_cast<size_t>(judged.n_slices));
  const size_t slice_bytes = bytes.size() / error.size();
  parallel_for_few(judged.n_slices, settings.slices_at_once, [&](int64_t s) {
    const std::vector<float> rows = slice_rows(source, tensor, s);
    std::vector<float> decoded(rows.size());
    to.decode(bytes.data() + static_cast<size_t>(s) * slice_bytes, std::ssize(rows) / to.block_len, decoded.data());
    const SliceHessians::Means judge = judged.judge(s, timed);
    error[static_cast<size_t>(s)] =
        error_of(judged.n_in, judge.hessian, quantize::compute_linear_term(rows, judge.cross_covariance, judged.n_in),
                 rows, decoded, tensor.ne[1]);
  });
  return error;
}

int64_t compared_slice(const SliceHessians& all) {
  std::vector<int64_t> slices(static_cast<size_t>(all.n_slices()));
  std::iota(slices.begin(), slices.end(), 0);
  const auto median = slices.begin() + all.n_slices() / 2;
  std::ranges::nth_element(slices, median, {}, [&](int64_t s) { return all.count(s); });
  return *median;
}

TextLoss compare_texts(const gguf::Source& source, const plan::Decision& decision, const SliceHessians& part,
                       const SliceHessians& all, const SliceHessians& held_out, const RoundingSettings& settings,
                       formats::DeviceEncoder* device, TimedLoop& timed) {
  const gguf::TensorInfo& tensor = *decision.tensor;
  const formats::Format& from = format(tensor.type);
  const int64_t n_in = tensor.ne[0], n_out = tensor.ne[1], n_slices = tensor.ne[2] * tensor.ne[3];
  const int64_t median = compared_slice(all);
  if (held_out.count(median) == 0) return {};

  const int64_t n_rows = std::min(kComparedRows, n_out);
  const uint64_t slice_bytes = tensor.n_bytes / static_cast<uint64_t>(n_slices);
  const uint64_t begin = static_cast<uint64_t>(median) * slice_bytes;
  const gguf::Bytes stored =
      source.read(tensor, begin, begin + slice_bytes / static_cast<uint64_t>(n_out) * static_cast<uint64_t>(n_rows));
  std::vector<float> rows(static_cast<size_t>(n_rows * n_in));
  from.decode(stored.data(), n_rows * n_in / from.block_len, rows.data());
  const auto lost = [&](const SliceHessians& watched) {
    SliceCandidates slice(format(decision.type), n_in, rows, device);
    round_slice(std::span(&slice, 1), {watched, expert_prior(tensor, settings)}, median, n_in, settings, timed);
    return verdict(slice, SliceMeans(held_out, 0.0).of_slice(median), n_in).loss[static_cast<size_t>(Rounding::kLdlq)];
  };
  const TextLoss loss{lost(part), lost(all)};
  return loss.part > 0.0 && loss.all > 0.0 ? loss : TextLoss{};
}

}  // namespace steelyard::calibrate
