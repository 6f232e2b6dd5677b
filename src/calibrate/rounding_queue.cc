#include "calibrate/rounding_queue.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/check.h"
#include "base/together.h"

namespace steelyard::calibrate {

void WorkerRates::add(const std::string& worker, double cost, double seconds) {
  const std::lock_guard lock(mutex_);
  Work& work = work_[worker];
  ++work.n_tasks;
  work.cost += cost;
  work.seconds += seconds;
}

double WorkerRates::of(const std::string& worker) const {
  const std::lock_guard lock(mutex_);
  const auto found = work_.find(worker);
  return found != work_.end() && found->second.seconds > 0.0 ? found->second.cost / found->second.seconds : 0.0;
}

std::map<std::string, WorkerRates::Work> WorkerRates::all() const {
  const std::lock_guard lock(mutex_);
  return work_;
}

RoundingQueue::RoundingQueue(std::vector<RoundingTask> tasks, WorkerRates& rates, Sink sink)
    : tasks_(std::move(tasks)), rates_(rates), sink_(std::move(sink)) {
  std::ranges::reverse(tasks_);  // of equal ones, the first is taken first
  std::ranges::stable_sort(tasks_, {}, &RoundingTask::cost);
  for (const RoundingTask& task : tasks_) left_ += task.cost;
}

std::optional<RoundingTask> RoundingQueue::take(const RoundingWorker& worker) {
  const std::lock_guard lock(mutex_);
  if (failure_ || tasks_.empty()) return std::nullopt;
  const double own = rates_.of(worker.name());
  double others = 0;
  for (const std::string& name : working_) {
    const double rate = rates_.of(name);
    if (rate == 0.0) others = -std::numeric_limits<double>::infinity();  // what is not known is found out
    others += rate;
  }
  others -= own;
  auto next = tasks_.end() - 1;
  if (own > 0.0 && others > 0.0) {
    const double most = left_ * own / others;
    while (next != tasks_.begin() && next->cost > most) --next;
    if (next->cost > most) return std::nullopt;
  }
  const RoundingTask task = *next;
  tasks_.erase(next);
  left_ -= task.cost;
  return task;
}

void RoundingQueue::hand_in(const RoundingWorker& worker, const RoundingTask& task, const RoundingOutcome& outcome,
                            double seconds) {
  sink_(task, outcome);
  rates_.add(worker.name(), task.cost, seconds);
}

// A worker that is done is nobody whom others could leave something to.
void RoundingQueue::end(const RoundingWorker& worker) {
  const std::lock_guard lock(mutex_);
  working_.erase(working_.find(worker.name()));
}

void RoundingQueue::run(std::span<const std::unique_ptr<RoundingWorker>> workers, int threads_of_each) {
  for (const auto& worker : workers) working_.insert(worker->name());
  run_together(workers.size(), threads_of_each, [&](size_t i) {
    try {
      workers[i]->work(*this);
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!failure_) failure_ = std::current_exception();
    }
    end(*workers[i]);
  });
  if (failure_) std::rethrow_exception(failure_);
  STEELYARD_CHECK(tasks_.empty());
}

}  // namespace steelyard::calibrate
