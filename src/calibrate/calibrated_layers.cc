#include "calibrate/calibrated_layers.h"

#include <algorithm>
#include <cmath>
#include <mutex>
#include <tuple>
#include <utility>

#include "base/error.h"
#include "base/parallel.h"
#include "gguf/block_name.h"
#include "quantize/correction.h"
#include "quantize/encode.h"

namespace steelyard {
namespace {

// Means of sums [n_slices, n * n] over the inputs of a slice, to which the mean of all slices is added as if it had
// `prior` inputs.
class Means {
 public:
  Means(const std::vector<float>& sums, const std::vector<int64_t>& counts, double prior)
      : sums_(sums), counts_(counts), prior_(prior), size_(sums.size() / counts.size()) {
    if (prior_ == 0.0 || sums.empty()) return;
    shared_.resize(size_);
    double total = 0.0;
    for (size_t s = 0; s < counts.size(); ++s) {
      total += static_cast<double>(counts[s]);
      for (size_t i = 0; i < size_; ++i) shared_[i] += sums[s * size_ + i];
    }
    for (float& value : shared_) value = total > 0.0 ? value / static_cast<float>(total) : 0.0f;
  }

  /// Inputs of a slice, the added ones among them.
  double n_inputs(int64_t slice) const { return static_cast<double>(counts_[static_cast<size_t>(slice)]) + prior_; }

  /// Zeros without inputs; empty when the sums are.
  std::vector<float> of(int64_t slice) const {
    std::vector<float> mean(size_);
    const auto s = static_cast<size_t>(slice);
    const double total = n_inputs(slice);
    if (total == 0.0) return mean;
    const auto own = static_cast<float>(1.0 / total), shared = static_cast<float>(prior_ / total);
    for (size_t i = 0; i < size_; ++i) {
      mean[i] = sums_[s * size_ + i] * own + (shared_.empty() ? 0.0f : shared_[i] * shared);
    }
    return mean;
  }

 private:
  const std::vector<float>& sums_;
  const std::vector<int64_t>& counts_;
  double prior_;
  size_t size_;
  std::vector<float> shared_;
};

// One slice of a tensor, rounded in every way.
class Candidates {
 public:
  Candidates(const Format& to, int64_t n_in, int64_t n_out, const std::vector<float>& rows, DeviceEncoder* device)
      : to_(to), n_in_(n_in), n_out_(n_out), rows_(rows), device_(device) {}

  // Alone each weight keeps to itself; feedback goes towards `target`.
  void round(const std::vector<float>& mean, const std::vector<float>& target, const FeedbackSettings& settings) {
    std::vector<float> diagonal(static_cast<size_t>(n_in_));
    for (int64_t i = 0; i < n_in_; ++i) diagonal[static_cast<size_t>(i)] = mean[static_cast<size_t>(i * n_in_ + i)];
    round_alone(nullptr, settings.effort, mutable_way(Rounding::kPlain));
    if (std::ranges::any_of(diagonal, [](float x) { return x > 0.0f; })) {
      round_alone(diagonal.data(), settings.effort, mutable_way(Rounding::kDiagonal));
    }
    if (const auto feedback = FeedbackEncoder::make(to_, n_in_, mean.data(), settings, device_)) {
      std::vector<std::byte>& bytes = mutable_way(Rounding::kFeedback);
      bytes.resize(n_bytes());
      feedback->encode(target.data(), n_out_, bytes.data());
    }
  }

  // The way that loses least of the outputs under these moments; fills `loss`. A way that could not be gone has none.
  Rounding best(const std::vector<float>& moments, const std::vector<float>& pull,
                std::array<double, kRoundings>& loss) const {
    std::vector<float> decoded(rows_.size());
    const double whole = output_error(n_in_, moments.data(), nullptr, rows_.data(), decoded.data(), n_out_);
    auto best = Rounding::kPlain;
    for (const Rounding rounding : {Rounding::kPlain, Rounding::kDiagonal, Rounding::kFeedback}) {
      const std::vector<std::byte>& bytes = way(rounding);
      if (bytes.empty()) continue;
      to_.decode(bytes.data(), n_out_ * n_in_ / to_.block_len, decoded.data());
      const double lost = output_error(n_in_, moments.data(), pull.empty() ? nullptr : pull.data(), rows_.data(),
                                       decoded.data(), n_out_);
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
    if (device_ != nullptr && device_->encodes(to_.type)) {
      return device_->encode(to_.type, rows_.data(), n_out_, n_in_, importance, effort, bytes.data());
    }
    parallel_for(n_out_, 16, [&](int64_t r) {
      to_.encoder->encode_row(rows_.data() + r * n_in_, importance, n_in_ / to_.block_len, effort,
                              bytes.data() + static_cast<size_t>(r) * row_bytes());
    });
  }

  const Format& to_;
  int64_t n_in_, n_out_;
  const std::vector<float>& rows_;
  DeviceEncoder* device_;
  std::array<std::vector<std::byte>, kRoundings> ways_;
};

// The tensor as it was decided and rounded, where the layer has it: not all tensors are matrices of a product.
void replace(const Decision& decision, const std::byte* rounded, Backend& backend, LoadedWeights& weights) {
  const auto found = weights.find(decision.tensor->name);
  if (found == weights.end()) return;
  Weight weight = std::exchange(found->second, {});
  weight.format = &format(decision.type);
  weight.data = rounded;
  weight.memory = nullptr;
  found->second = backend.load(std::move(weight));
}

}  // namespace

// After llama.cpp's names: attention and state-space mixers, their output; the FFN, its output.
int stage_of(std::string_view tensor) {
  const auto has = [&](std::string_view part) { return tensor.find(part) != tensor.npos; };
  if (has(".ffn_")) return has(".ffn_down") ? 3 : 2;
  return has(".attn_output") || has(".ssm_out") ? 1 : 0;
}

LayerPart part_of(int stage) { return stage < 2 ? LayerPart::kMixer : LayerPart::kFfn; }

// Of watched and held-out inputs, both sums and drift. A stage's routed experts of one shape read the same rows.
uint64_t moment_bytes(const Resolution& resolution) {
  std::map<std::pair<int64_t, int>, uint64_t> of_stage;
  std::set<std::tuple<int64_t, int, int64_t, int64_t>> routed;
  uint64_t most = 0;
  for (const Decision& decision : resolution.decisions) {
    const gguf::TensorInfo& tensor = *decision.tensor;
    const auto layer = gguf::block_of(tensor.name);
    if (!layer || tensor.n_dims < 2 || decision.type == tensor.type) continue;
    const int stage = stage_of(tensor.name);
    const int64_t n = tensor.ne[0], n_slices = tensor.ne[2];
    if (n_slices > 1 && !routed.insert({*layer, stage, n, n_slices}).second) continue;
    uint64_t& bytes = of_stage[{*layer, stage}];
    bytes += 4 * static_cast<uint64_t>(n_slices * n * n) * sizeof(float);
    most = std::max(most, bytes);
  }
  return most;
}

CalibratedLayers::CalibratedLayers(const gguf::Reader& source, const Resolution& resolution, const Model& model,
                                   const Chunks& chunks, const CalibrationSettings& settings)
    : source_(source),
      resolution_(resolution),
      model_(model),
      settings_(settings),
      original_(
          model, chunks.n_ctx(), [&chunks](int64_t c) { return chunks.input(c); }, settings.sweep),
      rounded_(
          model, chunks.n_ctx(), [&chunks](int64_t c) { return chunks.input(c); }, settings.sweep),
      n_chunks_(chunks.count()),
      n_watched_(chunks.count() - chunks.count() / settings.held_out) {
  original_.start(0, n_chunks_);
  rounded_.start(0, n_chunks_);
}

bool CalibratedLayers::covers(const Decision& decision) const {
  const auto layer = gguf::block_of(decision.tensor->name);
  const Format& to = format(decision.type);
  return layer && *layer < model_.n_layers() && decision.type != decision.tensor->type && to.encoder != nullptr &&
         to.unpack != nullptr;
}

void CalibratedLayers::finished(const Decision& decision, std::span<const std::byte> bytes) {
  if (covers(decision)) finished_[decision.tensor->name] = bytes;
}

std::optional<std::vector<std::byte>> CalibratedLayers::encode(const Decision& decision) {
  if (!covers(decision)) return std::nullopt;
  while (next_layer_ <= *gguf::block_of(decision.tensor->name)) pass_layer(next_layer_++);
  const auto found = encoded_.find(decision.tensor->name);
  if (found == encoded_.end()) return std::nullopt;  // no linear: nothing was watched
  std::vector<std::byte> bytes = std::move(found->second);
  encoded_.erase(found);
  return bytes;
}

// What breaks in one model leaves the other too. Whether anything did.
bool CalibratedLayers::share_broken() {
  const auto share = [](const LayerSweep& from, LayerSweep& to) {
    const size_t before = to.broken().size();
    for (const auto& [chunk, layer] : from.broken()) to.leave_out(chunk);
    return to.broken().size() > before;
  };
  const bool rounded = share(original_, rounded_);
  return share(rounded_, original_) || rounded;
}

// Batch by batch, in the original model first. A chunk that breaks has left its mark on the sums: they are collected
// anew without it.
CalibratedLayers::Moments CalibratedLayers::watch(const Layer& layer, const Layer& rounded, LayerPart part,
                                                  const std::set<std::string>& weights, int64_t begin, int64_t end) {
  while (true) {
    const size_t n_broken = rounded_.broken().size();
    InputRecorder originals;
    MomentCollector collector(weights, &originals);
    for (int64_t c = begin; c < end; c += rounded_.chunks_per_batch()) {
      const int64_t to = std::min(end, c + rounded_.chunks_per_batch());
      originals.clear();
      original_.watch(layer, part, c, to, originals);
      rounded_.watch(rounded, part, c, to, collector);
    }
    if (!share_broken() && rounded_.broken().size() == n_broken) return collector.take(*layer.backend);
  }
}

void CalibratedLayers::pass_layer(int number) {
  model_.will_need(number + 1);
  LoadedWeights rounded;  // at first the file's
  const Layer layer = model_.layer(number, original_.n_ctx(), {}, &rounded);
  std::vector<const Decision*> wanted;
  bool all_finished = true;
  for (const Decision& decision : resolution_.decisions) {
    if (gguf::block_of(decision.tensor->name) != number || !covers(decision)) continue;
    wanted.push_back(&decision);
    all_finished = all_finished && finished_.contains(decision.tensor->name);
  }

  if (all_finished) {
    for (const Decision* decision : wanted) {
      replace(*decision, finished_.at(decision->tensor->name).data(), *layer.backend, rounded);
    }
  }
  for (const LayerPart part : {LayerPart::kMixer, LayerPart::kFfn}) {
    if (!all_finished) round_part(number, layer, part, wanted, rounded);
    original_.advance(layer, part);
    rounded_.advance(model_.layer(number, original_.n_ctx(), std::span(&layer, 1), &rounded), part);
  }
  share_broken();
  for (const Decision* decision : wanted) {  // others are released by who asks for them and reads the source once more
    if (!finished_.contains(decision->tensor->name)) continue;
    encoded_.erase(decision->tensor->name);
    source_.release(*decision->tensor, 0, decision->tensor->n_bytes);
  }
}

void CalibratedLayers::round_part(int number, const Layer& layer, LayerPart part,
                                  std::span<const Decision* const> wanted, LoadedWeights& rounded) {
  for (int stage = 0; stage < kStages; ++stage) {
    if (part_of(stage) != part) continue;
    std::set<std::string> names;
    for (const Decision* decision : wanted) {
      if (stage_of(decision->tensor->name) == stage) names.insert(decision->tensor->name);
    }
    if (names.empty()) continue;
    const Layer so_far = model_.layer(number, original_.n_ctx(), std::span(&layer, 1), &rounded);
    const Moments moments = watch(layer, so_far, part, names, 0, n_watched_),
                  others = watch(layer, so_far, part, names, n_watched_, n_chunks_);
    for (const Decision* decision : wanted) {
      const std::string& name = decision->tensor->name;
      const auto own = moments.find(name), other = others.find(name);
      if (!names.contains(name) || own == moments.end()) continue;
      std::vector<std::byte>& bytes = encoded_[name];
      bytes = encode_tensor(*decision, *own->second, other != others.end() ? other->second.get() : nullptr);
      replace(*decision, bytes.data(), *layer.backend, rounded);
    }
  }
}

std::vector<std::byte> CalibratedLayers::encode_tensor(const Decision& decision, const SecondMoments& watched,
                                                       const SecondMoments* held_out) {
  const gguf::TensorInfo& tensor = *decision.tensor;
  const Format& from = format(tensor.type);
  const Format& to = format(decision.type);
  const int64_t n_in = tensor.ne[0], n_out = tensor.ne[1], n_slices = tensor.ne[2] * tensor.ne[3];
  STEELYARD_CHECK(watched.n == n_in && watched.n_slices == n_slices);
  const double prior = n_slices > 1 ? settings_.shrinkage * static_cast<double>(n_in) : 0.0;
  const SecondMoments& judges = held_out != nullptr ? *held_out : watched;
  const Means means(watched.sums, watched.counts, prior), drifts(watched.drift, watched.counts, prior);
  const Means other_means(judges.sums, judges.counts, 0.0), other_drifts(judges.drift, judges.counts, 0.0);
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
    const std::vector<float> mean = means.of(s), pull = pull_of(rows, drifts.of(s), n_in);
    Candidates candidates(to, n_in, n_out, rows, settings_.device);
    const double n_inputs = means.n_inputs(s);
    FeedbackSettings feedback = settings_.feedback;
    feedback.damping = settings_.damping.of(n_in, n_inputs);
    candidates.round(mean, corrected(rows, pull, mean, n_in, settings_.ridge.of(n_in, n_inputs)), feedback);
    std::array<double, kRoundings> loss = {};
    const bool judged = judges.counts[static_cast<size_t>(s)] > 0;
    const Rounding best = judged ? candidates.best(other_means.of(s), pull_of(rows, other_drifts.of(s), n_in), loss)
                                 : candidates.best(mean, pull, loss);
    std::ranges::copy(candidates.way(best), result.data() + static_cast<size_t>(s) * to_bytes);

    const std::lock_guard lock(reporting);
    for (size_t w = 0; w < kRoundings; ++w) report.loss[w] += loss[w] / static_cast<double>(n_slices);
    ++report.chosen[static_cast<size_t>(best)];
  });
  reports_.push_back(report);
  return result;
}

}  // namespace steelyard
