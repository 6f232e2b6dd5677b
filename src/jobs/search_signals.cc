#include "jobs/search_signals.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "base/memory.h"
#include "calibrate/output_gradients.h"
#include "compute/backends.h"
#include "gguf/block_name.h"
#include "model/architecture.h"
#include "quantize/encode.h"

namespace steelyard::jobs {
namespace {

// Of a tensor whose bytes are not needed. Rows of a matrix lose alike, and so do experts that are as often chosen.
constexpr int64_t kSampledSlices = 8, kSampledRows = 128;
// Tokens that pass a layer together.
constexpr int64_t kBatch = 2048;
// What all probes of layers cost together, in passes of the calibration text.
constexpr int64_t kProbePasses = 4;
// Of each type of a tensor outside of layers.
constexpr int64_t kOutsideChunks = 8;

constexpr std::string_view kEmbedding = "token_embd.weight", kOutput = "output.weight";

double bits(formats::Type type) { return 8.0 * format(type).block_bytes / format(type).block_len; }

// Far enough down that choices of experts change visibly, and near enough that a layer still works.
formats::Type probe_type(const std::vector<formats::Type>& types) {
  constexpr double kBits = 2.56;
  return *std::ranges::min_element(types, {}, [](formats::Type type) { return std::abs(bits(type) - kBits); });
}

bool has_experts(const model::ModelConfig& config) {
  return std::ranges::any_of(config.layers, [](const auto& layer) { return layer.ffn.n_expert > 0; });
}

// A candidate in a saved tensor.
SavedLoss* find_type(SavedTensor& tensor, formats::Type type) {
  const auto found = std::ranges::find(tensor.types, format(type).name, &SavedLoss::type);
  return found != tensor.types.end() ? &*found : nullptr;
}

}  // namespace

SearchSignals::SearchSignals(const SearchOptions& options, const gguf::Source& source, const plan::Resolution& start,
                             const std::vector<formats::Type>& types, const imatrix::Imatrix* imatrix,
                             SearchState& state)
    : options_(options),
      source_(source),
      start_(start),
      imatrix_(imatrix),
      state_(state),
      low_(probe_type(types)),
      has_experts_(has_experts(model::read_config(source))) {
  if (imatrix != nullptr && options.shaping().chosen_effort() == formats::Effort::kBest)
    inputs_.emplace(source, start, *imatrix);
  for (const formats::Type type : types)
    trials_.resolutions.push_back(resolve(plan::Plan::uniform(type), source.tensors()));
  if (imatrix != nullptr) trials_.round = [this](const plan::Decision& decision) { return round(decision); };
  trials_.sample = [this](const plan::Decision& decision) { return sample(decision); };
  trials_.hear = [this](const plan::Decision& decision, const calibrate::RoundedTensor& rounded) {
    hear(decision, rounded);
  };
  trials_.heard = [this](const std::string& tensor) { heard(tensor); };
}

schedule::SweepOptions SearchSignals::sweep_options(int64_t n_ctx) const {
  const uint64_t memory = usable_memory(options_.memory);
  uint64_t model_bytes = 0;
  for (const gguf::TensorInfo& tensor : source_.tensors()) model_bytes += tensor.n_bytes;
  // Layers that are not kept leave the memory, and are read again.
  schedule::SweepOptions sweep{.n_batch = std::max(kBatch, n_ctx), .keep_layers = model_bytes <= memory / 2};
  sweep.hidden_state_bytes = memory / 4;
  sweep.scratch_folder = std::filesystem::path(options_.output).parent_path().string();
  return sweep;
}

// Types that need importance are refused where there is none. Calibration knows that of layers.
bool SearchSignals::has_importance(const plan::Decision& decision) const {
  if (format(decision.type).importance != formats::Importance::kRequired) return true;
  const gguf::TensorInfo& tensor = *decision.tensor;
  return imatrix_ != nullptr ? imatrix_->find(tensor) != nullptr : gguf::block_of(tensor.name).has_value();
}

// As quantize() does it without calibration.
std::vector<std::byte> SearchSignals::round(const plan::Decision& decision) const {
  return quantize::encode_tensor(source_, decision, imatrix_, options_.shaping().chosen_effort(),
                                 inputs_ ? &*inputs_ : nullptr);
}

void SearchSignals::compute_gradients(const tokenizer::Chunks& chunks) {
  n_calibrating_ = chunks.count();
  if (state_.curvatures.empty()) {
    const auto backend = compute::make_backend(options_.backend);
    compute::GradientTape tape(*backend);
    const model::Model model(source_, tape);
    const calibrate::OutputGradients gradients(model, tape, chunks, sweep_options(chunks.n_ctx()), /*seed=*/0);
    for (const gguf::TensorInfo& tensor : source_.tensors()) {
      if (auto curvature = gradients.curvature(tensor.name); !curvature.empty())
        state_.curvatures.push_back({tensor.name, std::move(curvature)});
    }
    state_.save();
  }
  for (const SavedCurvature& curvature : state_.curvatures) curvatures_[curvature.tensor] = curvature.by_slice;
}

const calibrate::Trials& SearchSignals::trials(const evaluate::DivergenceBase& base) {
  if (has_experts_) {
    const int64_t n_chunks =
        std::clamp<int64_t>(kProbePasses * n_calibrating_ / std::ssize(curvatures_), 1, base.n_chunks());
    probe_ = std::make_unique<SearchProbe>(source_, base, n_chunks, options_.backend, sweep_options(base.n_ctx()));
  }
  return trials_;
}

// Bytes are needed for probes only.
std::optional<calibrate::ErrorSample> SearchSignals::sample(const plan::Decision& decision) const {
  const auto curvature = curvatures_.find(decision.tensor->name);
  if (curvature == curvatures_.end()) return std::nullopt;
  if (probe_ != nullptr && decision.type == plan::storable(low_, *decision.tensor)) return std::nullopt;
  return calibrate::ErrorSample{kSampledSlices, kSampledRows, curvature->second};
}

void SearchSignals::hear(const plan::Decision& decision, const calibrate::RoundedTensor& rounded) {
  const std::string& name = decision.tensor->name;
  if (now_.tensor != name) {
    now_ = {.tensor = name};
    low_bytes_.clear();
  }
  const auto curvature = curvatures_.find(name);
  if (curvature == curvatures_.end() || !has_importance(decision)) return;  // or no linear
  double loss = 0;
  for (size_t s = 0; s < rounded.error.size(); ++s) loss += curvature->second[s] * rounded.error[s];
  now_.types.push_back({std::string(format(decision.type).name), decision.bytes, loss});
  if (decision.type == plan::storable(low_, *decision.tensor)) low_bytes_ = rounded.bytes;
}

void SearchSignals::heard(const std::string& tensor) {
  if (now_.types.empty()) return;
  if (probe_ != nullptr && !low_bytes_.empty())
    now_.probed = probe_->loss(tensor, plan::storable(low_, *source_.find(tensor)), low_bytes_.data());
  if (SavedTensor* const before = find(state_.in_layers, tensor))
    *before = now_;
  else
    state_.in_layers.push_back(now_);
  state_.save();
}

// There are two at most, so each is measured in every type.
void SearchSignals::probe_outside(const evaluate::DivergenceBase& base) {
  probe_.reset();
  for (size_t i = 0; i < start_.decisions.size(); ++i) {
    const std::string& name = start_.decisions[i].tensor->name;
    if ((name != kEmbedding && name != kOutput) || start_.decisions[i].reason == plan::Reason::kProtected) continue;
    if (find(state_.outside, name) == nullptr) state_.outside.push_back({.tensor = name});
    const auto measure = [&](const plan::Decision& decision) {
      SavedTensor& tensor = *find(state_.outside, name);
      if (find_type(tensor, decision.type) != nullptr || !has_importance(decision)) return;
      double loss = 0;
      if (decision.type != decision.tensor->type) {
        if (probe_ == nullptr)
          probe_ = std::make_unique<SearchProbe>(source_, base, std::min(kOutsideChunks, base.n_chunks()),
                                                 options_.backend, sweep_options(base.n_ctx()));
        loss = probe_->loss(name, decision.type, round(decision).data());
      }
      tensor.types.push_back({std::string(format(decision.type).name), decision.bytes, std::max(0.0, loss)});
      state_.save();
    };
    measure(start_.decisions[i]);
    for (const plan::Resolution& resolution : trials_.resolutions) measure(resolution.decisions[i]);
  }
  probe_.reset();
}

std::vector<search::TensorDamage> SearchSignals::damages() const {
  std::vector<search::TensorDamage> damages;
  const auto add = [&](const SavedTensor& tensor) -> search::TensorDamage& {
    damages.push_back({tensor.tensor, {}});
    for (const SavedLoss& at : tensor.types)
      damages.back().types.push_back({formats::find_format(at.type)->type, at.bytes, at.loss, 0});
    return damages.back();
  };
  for (const SavedTensor& tensor : state_.in_layers) {
    search::TensorDamage& damage = add(tensor);
    // Errors are known up to what no rounding of a tensor can change, which the best type has nearly none beside.
    const double least = std::ranges::min_element(damage.types, {}, &search::Damage::smooth)->smooth;
    for (search::Damage& at : damage.types) at.smooth -= least;
    if (!tensor.probed) continue;
    const gguf::TensorInfo& info = *source_.find(tensor.tensor);
    const double smooth = std::ranges::find(damage.types, plan::storable(low_, info), &search::Damage::type)->smooth;
    const double jump = std::max(0.0, *tensor.probed - smooth);
    for (search::Damage& at : damage.types) at.jumps = smooth > 0 ? jump * jump * at.smooth / smooth : 0;
  }
  // What the output matrix does is smooth. The embedding comes before all routers.
  const std::string_view output = source_.find(std::string(kOutput)) != nullptr ? kOutput : kEmbedding;
  for (const SavedTensor& tensor : state_.outside) {
    search::TensorDamage& damage = add(tensor);
    if (!has_experts_ || tensor.tensor == output) continue;
    for (search::Damage& at : damage.types) at = {at.type, at.bytes, 0, at.smooth * at.smooth};
  }
  std::ranges::sort(damages, {}, &search::TensorDamage::tensor);
  return damages;
}

}  // namespace steelyard::jobs
