// What is rounded when. How the text passes through the layers is two_sweeps.h, how a tensor is rounded is
// rounding_choice.cc.
#include "calibrate/calibrated_layers.h"

#include <algorithm>
#include <cmath>
#include <mutex>
#include <utility>

#include "base/check.h"
#include "base/parallel.h"
#include "calibrate/layer_stages.h"
#include "calibrate/rounding_lanes.h"
#include "gguf/block_name.h"

namespace steelyard::calibrate {

CalibratedLayers::CalibratedLayers(const gguf::Source& source, const plan::Resolution& resolution,
                                   const model::Model& model)
    : source_(source), resolution_(resolution), model_(model) {}

void CalibratedLayers::start(const tokenizer::Chunks& chunks, const CalibrationSettings& settings) {
  settings_ = settings;
  n_chunks_ = chunks.count();
  n_watched_ = n_chunks_ - n_chunks_ / settings.held_out;
  if (!settings.devices.moments.empty()) moments_.emplace(settings.devices.moments);
  // Of several ranks each has a batch, and so one device for it.
  forward_ = settings.devices.forward;
  if (cluster::are_several(settings.ranks) && forward_.size() > 1) forward_.erase(forward_.begin() + 1, forward_.end());
  text_.emplace(model_, chunks, settings.sweep, forward_.size(), settings.ranks);
}

bool CalibratedLayers::covers(const plan::Decision& decision) const { return is_covered(decision, model_.n_layers()); }

void CalibratedLayers::finished(const plan::Decision& decision, std::span<const std::byte> bytes) {
  if (covers(decision)) finished_[decision.tensor->name] = bytes;
}

std::optional<std::vector<std::byte>> CalibratedLayers::encode(const plan::Decision& decision) {
  if (!covers(decision)) return std::nullopt;
  STEELYARD_CHECK(text_.has_value());
  while (next_layer_ <= *gguf::block_of(decision.tensor->name)) {
    if (text_->sharing() != nullptr) cluster::broadcast_number(text_->sharing()->ranks(), next_layer_);
    pass_layer(next_layer_++);
  }
  const auto found = encoded_.find(decision.tensor->name);
  if (found == encoded_.end()) return std::nullopt;  // no linear: nothing was watched
  std::vector<std::byte> bytes = std::move(found->second);
  encoded_.erase(found);
  return bytes;
}

void CalibratedLayers::follow() {
  STEELYARD_CHECK(text_->sharing() != nullptr);
  while (cluster::broadcast_number(text_->sharing()->ranks(), 0) >= 0) {
    pass_layer(next_layer_++);
    encoded_.clear();
  }
}

void CalibratedLayers::release() {
  if (text_ && text_->sharing() != nullptr) cluster::broadcast_number(text_->sharing()->ranks(), -1);
}

// The leader alone knows what an interrupted run has finished.
void CalibratedLayers::take_finished(std::span<const plan::Decision* const> wanted, bool& all_finished) {
  cluster::Ranks& ranks = text_->sharing()->ranks();
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

double CalibratedLayers::half_over_all() const {
  if (half_over_all_.empty()) return 0.0;
  double sum = 0.0;
  for (const double ratio : half_over_all_) sum += std::log(ratio);
  return std::exp(sum / static_cast<double>(half_over_all_.size()));
}

void CalibratedLayers::pass_layer(int number) {
  Stopwatch watch;
  if (settings_.reads_ahead) model_.will_need(number + 1);
  LayerCopies copies(model_, number, text_->n_ctx(), forward_);
  std::vector<const plan::Decision*> wanted;
  bool all_finished = true;
  for (const plan::Decision& decision : resolution_.decisions) {
    if (gguf::block_of(decision.tensor->name) != number || !covers(decision)) continue;
    wanted.push_back(&decision);
    all_finished = all_finished && finished_.contains(decision.tensor->name);
  }

  if (text_->sharing() != nullptr) take_finished(wanted, all_finished);
  if (all_finished) {
    for (const plan::Decision* decision : wanted)
      copies.replace(*decision, finished_.at(decision->tensor->name).data());
  }
  for (const model::LayerPart part : {model::LayerPart::kMixer, model::LayerPart::kFfn}) {
    times_.add(Work::kForward, watch.lap());
    if (!all_finished) round_part(number, copies, part, wanted);
    watch.lap();
    text_->advance(copies, part);
  }
  text_->share_broken();
  times_.add(Work::kForward, watch.lap());
  note(number, "advance");
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
  const LayerSharing* const sharing = text_->sharing();
  const std::vector<RoundingTask> tasks = sharing != nullptr ? sharing->own(stage) : stage.tasks();
  double all = 0, largest = 0;
  for (const RoundingTask& task : tasks) {
    all += task.cost;
    largest = std::max(largest, task.cost);
  }
  const std::vector<formats::DeviceEncoder*>& devices = settings_.devices.encoders;
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
    if (sharing == nullptr) return;
    const std::lock_guard lock(collecting);
    made.emplace_back(task, outcome);
  };
  RoundingQueue queue(tasks, rates_, keep);
  if (!tasks.empty()) queue.run(workers, lanes.threads_of_each);
  if (sharing != nullptr) {
    sharing->exchange(made,
                      [&](const RoundingTask& task, const RoundingOutcome& outcome) { stage.keep(task, outcome); });
  }
  return stage.take();
}

void CalibratedLayers::round_part(int number, LayerCopies& copies, model::LayerPart part,
                                  std::span<const plan::Decision* const> wanted) {
  for (int stage = 0; stage < kStages; ++stage) {
    if (part_of(stage) != part) continue;
    std::set<std::string> names;
    for (const plan::Decision* decision : wanted) {
      if (stage_of(decision->tensor->name) == stage) names.insert(decision->tensor->name);
    }
    if (names.empty()) continue;
    const StagePlan plan = plan_for(number, stage, wanted);
    CollectionSpace space{std::make_shared<SpillSpace>(plan.space, settings_.sweep.scratch_folder),
                          plan.stores_rows || moments_, moments_ ? &*moments_ : nullptr};
    if (text_->sharing() != nullptr) {
      space.rank = text_->sharing()->ranks().rank();
      space.n_ranks = text_->sharing()->ranks().size();
    }
    const std::function<void()> at_work = [this] { tell_at_work(); };
    RoundingSettings settings = settings_.rounding;
    settings.slices_at_once = std::min(settings.slices_at_once, plan.slices_at_once);
    settings.times = &times_;
    std::vector<std::pair<int64_t, int64_t>> passes = {{0, n_watched_}, {n_watched_, n_chunks_}};
    if (compares_half(number, model_.n_layers()) && n_watched_ >= 2) passes.emplace_back(0, n_watched_ / 2);
    std::vector<Hessians> watched = text_->watch(copies, {part, names, space, at_work, times_}, passes);
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
    if (groups.empty()) {
      note(number, stage_name(stage));
      continue;
    }
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
        copies.replace(decision, bytes.data());
      }
    }
    for (const plan::Decision* decision : wanted) {
      const auto found = by_decision.find(decision);
      if (found == by_decision.end()) continue;
      reports_.push_back(std::move(found->second->rounded.report));
      if (found->second->half_over_all > 0.0) half_over_all_.push_back(found->second->half_over_all);
    }
    note(number, stage_name(stage));
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
                                       {.n_ctx = text_->n_ctx(),
                                        .n_chunks = n_chunks_,
                                        .n_batch = settings_.sweep.n_batch,
                                        .compares_half = compares_half(number, model_.n_layers())});
  return plan_stage(needs, settings_.stage_memory[layer], set_thread_count(0),
                    static_cast<int>(settings_.devices.encoders.size()));
}

}  // namespace steelyard::calibrate
