// Two sweeps side by side: what a layer does to the text in the file's model and in the rounded one. Watching, the
// choice of what is rounded when, and the passage to the next layer are here; how a tensor is rounded is
// rounding_choice.cc.
#include "calibrate/calibrated_layers.h"

#include <algorithm>
#include <cmath>
#include <mutex>
#include <utility>

#include "base/check.h"
#include "base/parallel.h"
#include "calibrate/chunk_sweep.h"
#include "calibrate/layer_stages.h"
#include "calibrate/rounding_lanes.h"
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
  if (cluster::are_several(settings.ranks)) sharing_.emplace(*settings.ranks, *original_, *rounded_);
}

bool CalibratedLayers::covers(const plan::Decision& decision) const { return is_covered(decision, model_.n_layers()); }

void CalibratedLayers::finished(const plan::Decision& decision, std::span<const std::byte> bytes) {
  if (covers(decision)) finished_[decision.tensor->name] = bytes;
}

std::optional<std::vector<std::byte>> CalibratedLayers::encode(const plan::Decision& decision) {
  if (!covers(decision)) return std::nullopt;
  STEELYARD_CHECK(original_.has_value());
  while (next_layer_ <= *gguf::block_of(decision.tensor->name)) {
    if (sharing_) cluster::broadcast_number(sharing_->ranks(), next_layer_);
    pass_layer(next_layer_++);
  }
  const auto found = encoded_.find(decision.tensor->name);
  if (found == encoded_.end()) return std::nullopt;  // no linear: nothing was watched
  std::vector<std::byte> bytes = std::move(found->second);
  encoded_.erase(found);
  return bytes;
}

void CalibratedLayers::follow() {
  STEELYARD_CHECK(sharing_.has_value());
  while (cluster::broadcast_number(sharing_->ranks(), 0) >= 0) {
    pass_layer(next_layer_++);
    encoded_.clear();
  }
}

void CalibratedLayers::release() {
  if (sharing_) cluster::broadcast_number(sharing_->ranks(), -1);
}

// The leader alone knows what an interrupted run has finished.
void CalibratedLayers::take_finished(std::span<const plan::Decision* const> wanted, bool& all_finished) {
  cluster::Ranks& ranks = sharing_->ranks();
  all_finished = cluster::broadcast_number(ranks, all_finished) != 0;
  if (!all_finished) return;
  for (const plan::Decision* decision : wanted) {
    const std::string& name = decision->tensor->name;
    cluster::Message bytes;
    if (ranks.leads())
      bytes.assign(reinterpret_cast<const char*>(finished_.at(name).data()), finished_.at(name).size());
    bytes = cluster::broadcast(ranks, std::move(bytes));
    if (ranks.leads()) continue;
    std::vector<std::byte>& own = encoded_[name];
    own.resize(bytes.size());
    std::ranges::copy(std::as_bytes(std::span(bytes)), own.begin());
    finished_[name] = own;
  }
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
                                                   const CollectionSpace& space, int64_t begin, int64_t end) {
  while (true) {
    Stopwatch watch;
    const size_t n_broken = rounded_->broken().size();
    InputRecorder originals(weights);
    HessianCollector collector(weights, &originals, space);
    for (int64_t c = begin; c < end; c += rounded_->chunks_per_batch()) {
      const int64_t to = std::min(end, c + rounded_->chunks_per_batch());
      tell_at_work();
      originals.clear();
      original_->watch(layer, part, c, to, originals);
      rounded_->watch(rounded, part, c, to, collector);
    }
    const bool whole = !share_broken() && rounded_->broken().size() == n_broken;
    Hessians hessians;
    if (whole) hessians = collector.take(*layer.backend);
    times_.add(Work::kMoments, collector.seconds());
    times_.add(Work::kForward, watch.lap() - collector.seconds());
    if (whole) return hessians;
  }
}

std::vector<CalibratedLayers::Hessians> CalibratedLayers::watch_all(
    const model::Layer& layer, const model::Layer& rounded, model::LayerPart part, const std::set<std::string>& weights,
    const CollectionSpace& space, std::span<const std::pair<int64_t, int64_t>> passes) {
  std::vector<Hessians> hessians;
  if (!sharing_) {
    for (const auto& [begin, end] : passes) hessians.push_back(watch(layer, rounded, part, weights, space, begin, end));
    return hessians;
  }
  while (true) {
    Stopwatch watch;
    std::vector<InputRecorder> originals(passes.size(), InputRecorder(weights));
    std::vector<HessianCollector> collectors;
    std::vector<LayerSharing::Pass> shared;
    collectors.reserve(passes.size());
    for (size_t i = 0; i < passes.size(); ++i) {
      collectors.emplace_back(weights, &originals[i], space);
      shared.push_back({passes[i].first, passes[i].second, &originals[i], &collectors[i]});
    }
    const bool whole = sharing_->watch(layer, rounded, part, weights, shared, [this] { tell_at_work(); });
    double moments = 0;
    for (HessianCollector& collector : collectors) {
      if (whole) hessians.push_back(collector.take(*layer.backend));
      moments += collector.seconds();
    }
    times_.add(Work::kMoments, moments);
    times_.add(Work::kForward, watch.lap() - moments);
    if (!whole) continue;
    // The mean over all slices, of each input once.
    std::set<const SliceHessians*> pooled;
    for (const Hessians& of_pass : hessians) {
      for (const auto& [name, sums] : of_pass) {
        if (sums->n_slices() > 1 && pooled.insert(sums.get()).second) sharing_->pool(*sums);
      }
    }
    times_.add(Work::kMoments, watch.lap());
    return hessians;
  }
}

double CalibratedLayers::half_over_all() const {
  if (half_over_all_.empty()) return 0.0;
  double sum = 0.0;
  for (const double ratio : half_over_all_) sum += std::log(ratio);
  return std::exp(sum / static_cast<double>(half_over_all_.size()));
}

void CalibratedLayers::pass_layer(int number) {
  Stopwatch watch;
  if (settings_.reads_ahead) model_.will_need(number + 1);
  model::LoadedTensors rounded;  // at first the file's
  const model::Layer layer = model_.layer(number, original_->n_ctx(), {}, &rounded);
  std::vector<const plan::Decision*> wanted;
  bool all_finished = true;
  for (const plan::Decision& decision : resolution_.decisions) {
    if (gguf::block_of(decision.tensor->name) != number || !covers(decision)) continue;
    wanted.push_back(&decision);
    all_finished = all_finished && finished_.contains(decision.tensor->name);
  }

  if (sharing_) take_finished(wanted, all_finished);
  if (all_finished) {
    for (const plan::Decision* decision : wanted) {
      replace(*decision, finished_.at(decision->tensor->name).data(), *layer.backend, rounded);
    }
  }
  for (const model::LayerPart part : {model::LayerPart::kMixer, model::LayerPart::kFfn}) {
    times_.add(Work::kForward, watch.lap());
    if (!all_finished) round_part(number, layer, part, wanted, rounded);
    watch.lap();
    const model::Layer so_far = model_.layer(number, original_->n_ctx(), std::span(&layer, 1), &rounded);
    if (sharing_) {
      sharing_->advance(layer, so_far, part);
    } else {
      original_->advance(layer, part);
      rounded_->advance(so_far, part);
    }
  }
  share_broken();
  times_.add(Work::kForward, watch.lap());
  for (const plan::Decision* decision :
       wanted) {  // others are released by who asks for them and reads the source once more
    if (!finished_.contains(decision->tensor->name)) continue;
    encoded_.erase(decision->tensor->name);
    source_.release(*decision->tensor, 0, decision->tensor->n_bytes);
  }
}

void CalibratedLayers::try_types(const plan::Decision& decision, const RoundedTensor& rounded,
                                 const SliceHessians& watched, const SliceHessians* held_out,
                                 const RoundingSettings& settings) {
  const Trials& trials = *settings_.trials;
  const auto in_trial = [&](const plan::Decision& in) {
    RoundedTensor tensor;
    if (trials.round) {
      tensor.bytes = trials.round(in);
      tensor.error = rounding_error(source_, in, tensor.bytes, watched, held_out, settings);
    } else if (const auto sample = trials.sample(in)) {
      tensor.error = sampled_error(source_, in, watched, held_out, settings, *sample);
    } else {
      tensor = round_tensor(source_, in, watched, held_out, settings);
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

// All tasks of the stage in one queue.
std::vector<std::vector<StageRounding::Tensor>> CalibratedLayers::round(std::vector<RoundingGroup> groups,
                                                                        const RoundingSettings& settings) {
  tell_at_work();
  StageRounding stage(source_, std::move(groups), settings);
  const std::vector<RoundingTask> tasks = sharing_ ? sharing_->own(stage) : stage.tasks();
  double all = 0, largest = 0;
  for (const RoundingTask& task : tasks) {
    all += task.cost;
    largest = std::max(largest, task.cost);
  }
  const std::vector<formats::DeviceEncoder*>& devices = settings_.devices;
  const RoundingLanes lanes = plan_lanes(set_thread_count(0), static_cast<int>(devices.size()), settings.slices_at_once,
                                         tasks.empty() ? 1.0 : all / largest, 0);
  TimedLoop timed(&times_);
  std::vector<std::unique_ptr<RoundingWorker>> workers;
  const auto add = [&](const std::string& name, formats::DeviceEncoder* device) {
    const auto tell = workers.empty() ? std::function([this] { tell_at_work(); }) : std::function<void()>();
    workers.push_back(std::make_unique<LocalWorker>(name, stage, device, timed, tell));
  };
  for (int i = 0; i < lanes.on_processor; ++i) add(fmt::format("cpu x{}", lanes.threads_of_each), nullptr);
  for (size_t i = 0; i < static_cast<size_t>(lanes.on_devices); ++i) {
    const size_t d = i % devices.size();
    add(fmt::format("device {}", d), devices[d]);
  }
  std::mutex collecting;
  std::vector<std::pair<RoundingTask, RoundingOutcome>> made;  // for other ranks
  const auto keep = [&](const RoundingTask& task, const RoundingOutcome& outcome) {
    stage.keep(task, outcome);
    if (!sharing_) return;
    const std::lock_guard lock(collecting);
    made.emplace_back(task, outcome);
  };
  RoundingQueue queue(tasks, rates_, keep);
  if (!tasks.empty()) queue.run(workers, lanes.threads_of_each);
  if (sharing_) {
    sharing_->exchange(made,
                       [&](const RoundingTask& task, const RoundingOutcome& outcome) { stage.keep(task, outcome); });
  }
  return stage.take();
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
    const StagePlan plan = plan_for(number, stage, wanted);
    const CollectionSpace space{std::make_shared<SpillSpace>(plan.space, settings_.sweep.scratch_folder),
                                plan.stores_rows, sharing_ ? sharing_->ranks().rank() : 0,
                                sharing_ ? sharing_->ranks().size() : 1};
    RoundingSettings settings = settings_.rounding;
    settings.slices_at_once = std::min(settings.slices_at_once, plan.slices_at_once);
    settings.times = &times_;
    std::vector<std::pair<int64_t, int64_t>> passes = {{0, n_watched_}, {n_watched_, n_chunks_}};
    if (compares_half(number, model_.n_layers()) && n_watched_ >= 2) passes.emplace_back(0, n_watched_ / 2);
    std::vector<Hessians> watched = watch_all(layer, so_far, part, names, space, passes);
    watched.resize(3);
    const Hessians &hessians = watched[0], &others = watched[1], &halves = watched[2];
    const auto of = [](const Hessians& in, const std::string& name) {
      const auto found = in.find(name);
      return found != in.end() ? found->second : nullptr;
    };
    std::vector<RoundingGroup> groups;  // in the order of their first tensors
    for (const plan::Decision* decision : wanted) {
      const std::string& name = decision->tensor->name;
      if (!names.contains(name) || !hessians.contains(name)) continue;
      RoundingGroup own{{decision}, of(hessians, name), of(others, name), of(halves, name)};
      const auto same = std::ranges::find_if(groups, [&](const RoundingGroup& group) {
        return group.own == own.own && group.judges == own.judges && group.half == own.half;
      });
      if (same == groups.end()) {
        groups.push_back(std::move(own));
      } else {
        same->decisions.push_back(decision);
      }
    }
    if (groups.empty()) continue;
    std::vector<std::vector<StageRounding::Tensor>> tensors = round(groups, settings);
    std::map<const plan::Decision*, StageRounding::Tensor*> by_decision;
    for (size_t g = 0; g < groups.size(); ++g) {
      for (StageRounding::Tensor& tensor : tensors[g]) {
        const plan::Decision& decision = *tensor.decision;
        by_decision[&decision] = &tensor;
        if (settings_.trials != nullptr) {
          tell_at_work();
          try_types(decision, tensor.rounded, *groups[g].own, groups[g].judges.get(), settings);
        }
        std::vector<std::byte>& bytes = encoded_[decision.tensor->name];
        bytes = std::move(tensor.rounded.bytes);
        replace(decision, bytes.data(), *layer.backend, rounded);
      }
    }
    for (const plan::Decision* decision : wanted) {
      const auto found = by_decision.find(decision);
      if (found == by_decision.end()) continue;
      reports_.push_back(std::move(found->second->rounded.report));
      if (found->second->half_over_all > 0.0) half_over_all_.push_back(found->second->half_over_all);
    }
  }
}

// What the stage may hold in memory, by the needs of its tensors.
StagePlan CalibratedLayers::plan_for(int number, int stage, std::span<const plan::Decision* const> wanted) const {
  if (settings_.stage_memory.empty()) return {};
  std::vector<const plan::Decision*> decisions;
  for (const plan::Decision* decision : wanted) {
    if (stage_of(decision->tensor->name) == stage) decisions.push_back(decision);
  }
  const auto layer = static_cast<size_t>(number);
  const StageNeeds needs = stage_needs(decisions, stage, model_.config().layers[layer].ffn.n_used,
                                       {.n_ctx = original_->n_ctx(),
                                        .n_chunks = n_chunks_,
                                        .n_batch = settings_.sweep.n_batch,
                                        .compares_half = compares_half(number, model_.n_layers())});
  const int n_lanes = most_lanes(set_thread_count(0), static_cast<int>(settings_.devices.size()));
  return plan_stage(needs, settings_.stage_memory[layer], n_lanes);
}

}  // namespace steelyard::calibrate
