#include "calibrate/calibrated_layers.h"

#include <algorithm>
#include <cmath>
#include <mutex>

#include "base/error.h"
#include "base/parallel.h"
#include "plan/pattern.h"
#include "quantize/encode.h"

namespace steelyard {
namespace {

// Sum over all slices, as a mean.
std::vector<float> shared_mean(const SecondMoments& moments) {
  std::vector<float> mean(static_cast<size_t>(moments.n * moments.n));
  double total = 0.0;
  for (int64_t s = 0; s < moments.n_slices; ++s) {
    total += static_cast<double>(moments.counts[static_cast<size_t>(s)]);
    for (size_t i = 0; i < mean.size(); ++i) mean[i] += moments.slice(s)[i];
  }
  for (float& value : mean) value = total > 0.0 ? value / static_cast<float>(total) : 0.0f;
  return mean;
}

// The mean of x x^T of one slice; `shared` weighs in it as much as `prior` inputs.
std::vector<float> mean_of(const SecondMoments& moments, int64_t slice, std::span<const float> shared, double prior) {
  std::vector<float> mean(static_cast<size_t>(moments.n * moments.n));
  const double total = static_cast<double>(moments.counts[static_cast<size_t>(slice)]) + prior;
  if (total == 0.0) return mean;
  const auto own_part = static_cast<float>(1.0 / total), shared_part = static_cast<float>(prior / total);
  const float* const own = moments.slice(slice);
  for (size_t i = 0; i < mean.size(); ++i) mean[i] = own[i] * own_part + (prior > 0.0 ? shared[i] * shared_part : 0.0f);
  return mean;
}

// One slice of a tensor, rounded in every way.
class Candidates {
 public:
  Candidates(const Format& to, int64_t n_in, int64_t n_out, const std::vector<float>& rows)
      : to_(to), n_in_(n_in), n_out_(n_out), rows_(rows) {}

  void round(const std::vector<float>& mean, const FeedbackSettings& settings) {
    std::vector<float> diagonal(static_cast<size_t>(n_in_));
    for (int64_t i = 0; i < n_in_; ++i) diagonal[static_cast<size_t>(i)] = mean[static_cast<size_t>(i * n_in_ + i)];
    round_alone(nullptr, settings.effort, mutable_way(Rounding::kPlain));
    if (std::ranges::any_of(diagonal, [](float x) { return x > 0.0f; })) {
      round_alone(diagonal.data(), settings.effort, mutable_way(Rounding::kDiagonal));
    }
    if (const auto feedback = FeedbackEncoder::make(to_, n_in_, mean.data(), settings)) {
      std::vector<std::byte>& bytes = mutable_way(Rounding::kFeedback);
      bytes.resize(n_bytes());
      feedback->encode(rows_.data(), n_out_, bytes.data());
    }
  }

  // The way that loses least of the outputs under these moments; fills `loss`. A way that could not be gone has none.
  Rounding best(const std::vector<float>& moments, std::array<double, kRoundings>& loss) const {
    std::vector<float> decoded(rows_.size());
    const double whole = output_error(n_in_, moments.data(), rows_.data(), decoded.data(), n_out_);
    auto best = Rounding::kPlain;
    for (const Rounding rounding : {Rounding::kPlain, Rounding::kDiagonal, Rounding::kFeedback}) {
      const std::vector<std::byte>& bytes = way(rounding);
      if (bytes.empty()) continue;
      to_.decode(bytes.data(), n_out_ * n_in_ / to_.block_len, decoded.data());
      const double lost = output_error(n_in_, moments.data(), rows_.data(), decoded.data(), n_out_);
      double& own = loss[static_cast<size_t>(rounding)];
      own = whole > 0.0 ? lost / whole : 0.0;
      if (own <= loss[static_cast<size_t>(best)]) best = rounding;
    }
    return best;
  }

  const std::vector<std::byte>& way(Rounding rounding) const { return ways_[static_cast<size_t>(rounding)]; }

 private:
  std::vector<std::byte>& mutable_way(Rounding rounding) { return ways_[static_cast<size_t>(rounding)]; }
  size_t row_bytes() const { return static_cast<size_t>(n_in_ / to_.block_len) * to_.block_bytes; }
  size_t n_bytes() const { return static_cast<size_t>(n_out_) * row_bytes(); }

  void round_alone(const float* importance, Effort effort, std::vector<std::byte>& bytes) const {
    bytes.resize(n_bytes());
    parallel_for(n_out_, 16, [&](int64_t r) {
      to_.encoder->encode_row(rows_.data() + r * n_in_, importance, n_in_ / to_.block_len, effort,
                              bytes.data() + static_cast<size_t>(r) * row_bytes());
    });
  }

  const Format& to_;
  int64_t n_in_, n_out_;
  const std::vector<float>& rows_;
  std::array<std::vector<std::byte>, kRoundings> ways_;
};

}  // namespace

CalibratedLayers::CalibratedLayers(const gguf::Reader& source, const Resolution& resolution, const Model& model,
                                   const Chunks& chunks, const CalibrationSettings& settings)
    : source_(source),
      resolution_(resolution),
      model_(model),
      settings_(settings),
      sweep_(model, chunks.n_ctx(), [&chunks](int64_t c) { return chunks.input(c); }),
      n_chunks_(chunks.count()),
      n_watched_(chunks.count() - chunks.count() / settings.held_out) {
  sweep_.start(0, n_chunks_);
}

bool CalibratedLayers::covers(const Decision& decision) const {
  const auto layer = layer_of(decision.tensor->name);
  const Format& to = format(decision.type);
  return layer && *layer < model_.n_layers() && decision.type != decision.tensor->type && to.encoder != nullptr &&
         to.unpack != nullptr;
}

void CalibratedLayers::finished(const Decision& decision, std::span<const std::byte> bytes) {
  if (covers(decision)) finished_[decision.tensor->name] = bytes;
}

std::optional<std::vector<std::byte>> CalibratedLayers::encode(const Decision& decision) {
  if (!covers(decision)) return std::nullopt;
  while (next_layer_ <= *layer_of(decision.tensor->name)) pass_layer(next_layer_++);
  const auto found = encoded_.find(decision.tensor->name);
  if (found == encoded_.end()) return std::nullopt;  // no linear: nothing was watched
  std::vector<std::byte> bytes = std::move(found->second);
  encoded_.erase(found);
  return bytes;
}

// A chunk that breaks has left its mark on the sums: they are collected anew without it.
CalibratedLayers::Moments CalibratedLayers::watch(const Layer& layer, int64_t begin, int64_t end) {
  while (true) {
    const size_t n_broken = sweep_.broken().size();
    MomentCollector collector;
    sweep_.watch(layer, begin, end, collector);
    if (sweep_.broken().size() == n_broken) return collector.take(model_.backend());
  }
}

void CalibratedLayers::pass_layer(int number) {
  model_.will_need(number + 1);
  const Layer layer = model_.layer(number, sweep_.n_ctx());
  std::vector<const Decision*> wanted;
  bool all_finished = true;
  for (const Decision& decision : resolution_.decisions) {
    if (layer_of(decision.tensor->name) != number || !covers(decision)) continue;
    wanted.push_back(&decision);
    all_finished = all_finished && finished_.contains(decision.tensor->name);
  }

  Substitutes rounded;
  if (all_finished) {
    for (const Decision* decision : wanted) {
      rounded[decision->tensor->name] = {&format(decision->type), finished_.at(decision->tensor->name).data()};
    }
  } else {
    const Moments moments = watch(layer, 0, n_watched_), others = watch(layer, n_watched_, n_chunks_);
    for (const Decision* decision : wanted) {
      const std::string& name = decision->tensor->name;
      const auto own = moments.find(name), other = others.find(name);
      if (own == moments.end()) continue;
      std::vector<std::byte>& bytes = encoded_[name];
      bytes = encode_tensor(*decision, *own->second, other != others.end() ? other->second.get() : nullptr);
      rounded[name] = {&format(decision->type), bytes.data()};
    }
  }
  sweep_.advance(model_.layer(number, sweep_.n_ctx(), std::span(&layer, 1), rounded));
  model_.release(number);
  for (const Decision* decision : wanted) {
    if (finished_.contains(decision->tensor->name)) encoded_.erase(decision->tensor->name);  // it will not be asked for
  }
}

std::vector<std::byte> CalibratedLayers::encode_tensor(const Decision& decision, const SecondMoments& watched,
                                                       const SecondMoments* held_out) {
  const gguf::TensorInfo& tensor = *decision.tensor;
  const Format& from = format(tensor.type);
  const Format& to = format(decision.type);
  const int64_t n_in = tensor.ne[0], n_out = tensor.ne[1], n_slices = tensor.ne[2] * tensor.ne[3];
  STEELYARD_CHECK(watched.n == n_in && watched.n_slices == n_slices);
  const std::vector<float> shared = n_slices > 1 ? shared_mean(watched) : std::vector<float>();
  const double prior = n_slices > 1 ? settings_.shrinkage * static_cast<double>(n_in) : 0.0;
  const std::span<const std::byte> source = source_.bytes(tensor);
  std::vector<std::byte> result(static_cast<size_t>(decision.bytes));
  const size_t from_bytes = source.size() / static_cast<size_t>(n_slices);
  const size_t to_bytes = result.size() / static_cast<size_t>(n_slices);

  RoundingReport report{tensor.name, {}, {}};
  std::mutex reporting;
  // Slices side by side; within a single one the rows are.
  parallel_for(n_slices, 1, [&](int64_t s) {
    std::vector<float> rows(static_cast<size_t>(n_out * n_in));
    from.decode(source.data() + static_cast<size_t>(s) * from_bytes, n_out * n_in / from.block_len, rows.data());
    if (const auto bad = std::ranges::find_if_not(rows, [](float x) { return std::isfinite(x); }); bad != rows.end()) {
      const int64_t at = bad - rows.begin();
      throw BadWeight(source_.path(), fmt::format("tensor {} holds {} in row {}, column {}", printable(tensor.name),
                                                  *bad, s * n_out + at / n_in, at % n_in));
    }
    const std::vector<float> mean = mean_of(watched, s, shared, prior);
    Candidates candidates(to, n_in, n_out, rows);
    candidates.round(mean, settings_.feedback);
    const bool judged = held_out != nullptr && held_out->counts[static_cast<size_t>(s)] > 0;
    std::array<double, kRoundings> loss = {};
    const Rounding best = candidates.best(judged ? mean_of(*held_out, s, {}, 0.0) : mean, loss);
    std::ranges::copy(candidates.way(best), result.data() + static_cast<size_t>(s) * to_bytes);

    const std::lock_guard lock(reporting);
    for (size_t w = 0; w < kRoundings; ++w) report.loss[w] += loss[w] / static_cast<double>(n_slices);
    ++report.chosen[static_cast<size_t>(best)];
  });
  reports_.push_back(report);
  return result;
}

}  // namespace steelyard
