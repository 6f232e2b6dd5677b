#include "calibrate/stage_rounding.h"

#include <algorithm>
#include <utility>

namespace steelyard::calibrate {
namespace {

// Of one slice, in multiplications of F32: those in F64 count twice, and a weight whose code and scale are searched
// takes as long as so many of them. Workers differ in what they are quick at, so these need not be exact.
constexpr double kF64 = 2, kSearch = 3e4;
// For n^3: two factors. For each weight, times n: the solution in F64; feedback, descent and what judges results.
constexpr double kFactors = kF64 * 2 / 3, kOfWeight = kF64 * 1 + 10.5;

double cost_of(int64_t n_in, double n_weights) {
  const auto n = static_cast<double>(n_in);
  return kFactors * n * n * n + n_weights * (kOfWeight * n + kSearch);
}

}  // namespace

StageRounding::StageRounding(const gguf::Source& source, std::vector<RoundingGroup> groups,
                             const RoundingSettings& settings)
    : source_(source), groups_(std::move(groups)), settings_(settings) {
  for (const RoundingGroup& group : groups_) {
    roundings_.emplace_back(source, group.decisions, *group.own, group.judges.get(), settings);
    std::vector<SliceAssembly>& tensors = assembled_.emplace_back();
    for (const plan::Decision* decision : group.decisions) tensors.emplace_back(*decision);
    texts_.emplace_back(group.decisions.size());
  }
}

std::vector<RoundingTask> StageRounding::tasks() const {
  std::vector<RoundingTask> tasks;
  for (size_t g = 0; g < groups_.size(); ++g) {
    const RoundingGroup& group = groups_[g];
    const int64_t n_in = group.own->n();
    double weights = 0;
    for (const plan::Decision* decision : group.decisions)
      weights += static_cast<double>(n_in * decision->tensor->ne[1]);
    for (int64_t s = 0; s < roundings_[g].n_slices(); ++s)
      tasks.push_back({RoundingTask::Kind::kRound, g, s, cost_of(n_in, weights)});
    if (group.half == nullptr || group.judges == nullptr) continue;
    for (size_t i = 0; i < group.decisions.size(); ++i) {
      const auto rows = static_cast<double>(std::min(kComparedRows, group.decisions[i]->tensor->ne[1]));
      tasks.push_back({RoundingTask::Kind::kCompareTexts, g, static_cast<int64_t>(i),
                       2 * cost_of(n_in, rows * static_cast<double>(n_in))});
    }
  }
  return tasks;
}

int StageRounding::owner(const RoundingTask& task) const {
  const SliceHessians& own = *groups_[task.group].own;
  return own.owner(task.kind == RoundingTask::Kind::kRound ? task.index : compared_slice(own));
}

RoundingOutcome StageRounding::perform(const RoundingTask& task, formats::DeviceEncoder* device,
                                       TimedLoop& timed) const {
  const RoundingGroup& group = groups_[task.group];
  if (task.kind == RoundingTask::Kind::kRound)
    return {.slices = roundings_[task.group].round(task.index, device, timed), .texts = {}};
  return {.slices = {},
          .texts = compare_texts(source_, *group.decisions[static_cast<size_t>(task.index)], *group.half, *group.own,
                                 *group.judges, settings_, device, timed)};
}

void StageRounding::keep(const RoundingTask& task, const RoundingOutcome& outcome) {
  if (task.kind == RoundingTask::Kind::kCompareTexts) {
    texts_[task.group][static_cast<size_t>(task.index)] = outcome.texts;
    return;
  }
  std::vector<SliceAssembly>& tensors = assembled_[task.group];
  for (size_t i = 0; i < tensors.size(); ++i) tensors[i].put(task.index, outcome.slices.at(i));
}

std::vector<std::vector<StageRounding::Tensor>> StageRounding::take() {
  std::vector<std::vector<Tensor>> groups;
  for (size_t g = 0; g < groups_.size(); ++g) {
    std::vector<Tensor>& tensors = groups.emplace_back();
    for (size_t i = 0; i < assembled_[g].size(); ++i) {
      const TextLoss& loss = texts_[g][i];
      tensors.push_back(
          {groups_[g].decisions[i], assembled_[g][i].take(), loss.all > 0.0 ? loss.part / loss.all : 0.0});
    }
  }
  return groups;
}

void LocalWorker::work(RoundingQueue& queue) {
  while (const auto task = queue.take(*this)) {
    if (before_each_) before_each_();
    Stopwatch watch;
    RoundingOutcome outcome = stage_.perform(*task, device_, timed_);
    queue.hand_in(*this, *task, std::move(outcome), watch.lap());
  }
}

}  // namespace steelyard::calibrate
