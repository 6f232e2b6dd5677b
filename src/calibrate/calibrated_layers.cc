// Two sweeps side by side: what a layer does to the text in the file's model and in the rounded one. Watching, the
// choice of what is rounded when, and the passage to the next layer are here; how a tensor is rounded is
// rounding_choice.cc.
#include "calibrate/calibrated_layers.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/check.h"
#include "calibrate/chunk_sweep.h"
#include "calibrate/layer_stages.h"
#include "gguf/block_name.h"

namespace steelyard::calibrate {
namespace {

// The tensor as it was decided and rounded, if the layer has it: not all tensors are matrices of a product.
void replace(const plan::Decision& decision, const std::byte* rounded, compute::Backend& backend,
             model::LoadedTensors& tensors) {
  const auto found = tensors.weights.find(decision.tensor->name);
  if (found == tensors.weights.end()) return;
  compute::Weight weight = std::exchange(found->second, {});
  weight.format = &format(decision.type);
  weight.data = rounded;
  weight.memory = nullptr;
  found->second = backend.load(std::move(weight));
}

}  // namespace

CalibratedLayers::CalibratedLayers(const gguf::Reader& source, const plan::Resolution& resolution,
                                   const model::Model& model)
    : source_(source), resolution_(resolution), model_(model) {}

void CalibratedLayers::start(const tokenizer::Chunks& chunks, const CalibrationSettings& settings) {
  settings_ = settings;
  n_chunks_ = chunks.count();
  n_watched_ = n_chunks_ - n_chunks_ / settings.held_out;
  for (auto* sweep : {&original_, &rounded_}) {
    sweep->emplace(model_, chunks.n_ctx(), ids_of(chunks), options_for(chunks, settings.sweep));
    (*sweep)->start(0, n_chunks_);
  }
}

bool CalibratedLayers::covers(const plan::Decision& decision) const {
  const auto layer = gguf::block_of(decision.tensor->name);
  const formats::Format& to = format(decision.type);
  return layer && *layer < model_.n_layers() && decision.type != decision.tensor->type && to.encoder != nullptr &&
         to.unpack != nullptr;
}

void CalibratedLayers::finished(const plan::Decision& decision, std::span<const std::byte> bytes) {
  if (covers(decision)) finished_[decision.tensor->name] = bytes;
}

std::optional<std::vector<std::byte>> CalibratedLayers::encode(const plan::Decision& decision) {
  if (!covers(decision)) return std::nullopt;
  STEELYARD_CHECK(original_.has_value());
  while (next_layer_ <= *gguf::block_of(decision.tensor->name)) pass_layer(next_layer_++);
  const auto found = encoded_.find(decision.tensor->name);
  if (found == encoded_.end()) return std::nullopt;  // no linear: nothing was watched
  std::vector<std::byte> bytes = std::move(found->second);
  encoded_.erase(found);
  return bytes;
}

// A chunk that breaks in one model leaves the other too. Returns whether any chunk did.
bool CalibratedLayers::share_broken() {
  const auto share = [](const schedule::LayerSweep& from, schedule::LayerSweep& to) {
    const size_t before = to.broken().size();
    for (const auto& [chunk, layer] : from.broken()) to.leave_out(chunk);
    return to.broken().size() > before;
  };
  const bool rounded = share(*original_, *rounded_);
  return share(*rounded_, *original_) || rounded;
}

// Batch by batch, in the original model first. A chunk that breaks has already changed the sums, so they are collected
// again without it.
CalibratedLayers::Hessians CalibratedLayers::watch(const model::Layer& layer, const model::Layer& rounded,
                                                   model::LayerPart part, const std::set<std::string>& weights,
                                                   int64_t begin, int64_t end) {
  while (true) {
    const size_t n_broken = rounded_->broken().size();
    InputRecorder originals;
    HessianCollector collector(weights, &originals);
    for (int64_t c = begin; c < end; c += rounded_->chunks_per_batch()) {
      const int64_t to = std::min(end, c + rounded_->chunks_per_batch());
      tell_at_work();
      originals.clear();
      original_->watch(layer, part, c, to, originals);
      rounded_->watch(rounded, part, c, to, collector);
    }
    if (!share_broken() && rounded_->broken().size() == n_broken) return collector.take(*layer.backend);
  }
}

// In some layers, spread over all: the comparison costs half a pass of the text, and one more rounding of some rows.
bool CalibratedLayers::compares_texts(int layer) const {
  constexpr int kLayers = 6;
  const int step = std::max(1, model_.n_layers() / kLayers);
  return layer % step == step / 2 && n_watched_ >= 2;
}

double CalibratedLayers::half_over_all() const {
  if (half_over_all_.empty()) return 0.0;
  double sum = 0.0;
  for (const double ratio : half_over_all_) sum += std::log(ratio);
  return std::exp(sum / static_cast<double>(half_over_all_.size()));
}

void CalibratedLayers::pass_layer(int number) {
  model_.will_need(number + 1);
  model::LoadedTensors rounded;  // at first the file's
  const model::Layer layer = model_.layer(number, original_->n_ctx(), {}, &rounded);
  std::vector<const plan::Decision*> wanted;
  bool all_finished = true;
  for (const plan::Decision& decision : resolution_.decisions) {
    if (gguf::block_of(decision.tensor->name) != number || !covers(decision)) continue;
    wanted.push_back(&decision);
    all_finished = all_finished && finished_.contains(decision.tensor->name);
  }

  if (all_finished) {
    for (const plan::Decision* decision : wanted) {
      replace(*decision, finished_.at(decision->tensor->name).data(), *layer.backend, rounded);
    }
  }
  for (const model::LayerPart part : {model::LayerPart::kMixer, model::LayerPart::kFfn}) {
    if (!all_finished) round_part(number, layer, part, wanted, rounded);
    original_->advance(layer, part);
    rounded_->advance(model_.layer(number, original_->n_ctx(), std::span(&layer, 1), &rounded), part);
  }
  share_broken();
  for (const plan::Decision* decision :
       wanted) {  // others are released by who asks for them and reads the source once more
    if (!finished_.contains(decision->tensor->name)) continue;
    encoded_.erase(decision->tensor->name);
    source_.release(*decision->tensor, 0, decision->tensor->n_bytes);
  }
}

void CalibratedLayers::try_types(const plan::Decision& decision, const RoundedTensor& rounded,
                                 const HessianSums& watched, const HessianSums* held_out) {
  const Trials& trials = *settings_.trials;
  const auto in_trial = [&](const plan::Decision& in) {
    RoundedTensor tensor;
    if (trials.round) {
      tensor.bytes = trials.round(in);
      tensor.error = rounding_error(source_, in, tensor.bytes, watched, held_out, settings_.rounding);
    } else if (const auto sample = trials.sample(in)) {
      tensor.error = sampled_error(source_, in, watched, held_out, settings_.rounding, *sample);
    } else {
      tensor = round_tensor(source_, in, watched, held_out, settings_.rounding);
    }
    return tensor;
  };
  trials.hear(decision, trials.round || trials.sample(decision) ? in_trial(decision) : rounded);
  std::set<formats::Type> tried = {decision.type};
  const auto index = static_cast<size_t>(&decision - resolution_.decisions.data());  // decisions are in the same order
  for (const plan::Resolution& resolution : trials.resolutions) {
    const plan::Decision& other = resolution.decisions[index];
    if (!tried.insert(other.type).second || !covers(other)) continue;
    tell_at_work();
    trials.hear(other, in_trial(other));
  }
  trials.heard(decision.tensor->name);
}

void CalibratedLayers::round_part(int number, const model::Layer& layer, model::LayerPart part,
                                  std::span<const plan::Decision* const> wanted, model::LoadedTensors& rounded) {
  for (int stage = 0; stage < kStages; ++stage) {
    if (part_of(stage) != part) continue;
    std::set<std::string> names;
    for (const plan::Decision* decision : wanted) {
      if (stage_of(decision->tensor->name) == stage) names.insert(decision->tensor->name);
    }
    if (names.empty()) continue;
    const model::Layer so_far = model_.layer(number, original_->n_ctx(), std::span(&layer, 1), &rounded);
    const Hessians hessians = watch(layer, so_far, part, names, 0, n_watched_),
                   others = watch(layer, so_far, part, names, n_watched_, n_chunks_);
    const Hessians halves = compares_texts(number) ? watch(layer, so_far, part, names, 0, n_watched_ / 2) : Hessians();
    for (const plan::Decision* decision : wanted) {
      const std::string& name = decision->tensor->name;
      const auto own = hessians.find(name), other = others.find(name);
      if (!names.contains(name) || own == hessians.end()) continue;
      tell_at_work();
      const HessianSums* const judges = other != others.end() ? other->second.get() : nullptr;
      RoundedTensor tensor = round_tensor(source_, *decision, *own->second, judges, settings_.rounding);
      if (settings_.trials != nullptr) try_types(*decision, tensor, *own->second, judges);
      reports_.push_back(std::move(tensor.report));
      if (const auto half = halves.find(name); half != halves.end() && other != others.end()) {
        const TextLoss loss =
            compare_texts(source_, *decision, *half->second, *own->second, *other->second, settings_.rounding);
        if (loss.all > 0.0) half_over_all_.push_back(loss.part / loss.all);
      }
      std::vector<std::byte>& bytes = encoded_[name];
      bytes = std::move(tensor.bytes);
      replace(*decision, bytes.data(), *layer.backend, rounded);
    }
  }
}

}  // namespace steelyard::calibrate
