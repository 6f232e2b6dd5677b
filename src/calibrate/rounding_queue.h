// How the matrices of a stage are rounded by all that this machine has, at the same time. A RoundingTask says what is
// to be done and not by whom; StageRounding (stage_rounding.h) makes tasks, performs them and keeps what comes out. All
// of a stage's tasks are in one RoundingQueue, the largest first, from which workers take them until none is left. No
// result depends on which worker had it.
//
// Another kind of worker is a class derived from RoundingWorker. Its work() takes tasks, has them performed wherever it
// likes, and hands in the outcomes; RoundingTask and RoundingOutcome are plain values that can be sent elsewhere, and
// whoever has the same groups with the same statistics can perform a task. It joins the others in
// CalibratedLayers::workers().
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "calibrate/rounding_choice.h"

namespace steelyard::calibrate {

/// A unit of work.
struct RoundingTask {
  enum class Kind {
    kRound,         ///< one slice of all tensors of a group
    kCompareTexts,  ///< of one tensor, what half of the text loses
  };
  Kind kind = Kind::kRound;
  size_t group = 0;   ///< of the stage
  int64_t index = 0;  ///< the slice, or the tensor of the group
  double cost = 0;    ///< multiplications, about
};

/// What comes of it.
struct RoundingOutcome {
  std::vector<RoundedSlice> slices;  ///< kRound: of each tensor of the group
  TextLoss texts;                    ///< kCompareTexts
};

/// How fast workers are, by name: learned from what they did, kept from stage to stage. Thread-safe.
class WorkerRates {
 public:
  struct Work {
    int64_t n_tasks = 0;
    double cost = 0, seconds = 0;
  };
  void add(const std::string& worker, double cost, double seconds);
  /// Cost per second; 0: not known.
  double of(const std::string& worker) const;
  std::map<std::string, Work> all() const;

 private:
  mutable std::mutex mutex_;
  std::map<std::string, Work> work_;
};

class RoundingQueue;

class RoundingWorker {
 public:
  /// Workers of one name are equally fast.
  explicit RoundingWorker(std::string name) : name_(std::move(name)) {}
  RoundingWorker(const RoundingWorker&) = delete;
  virtual ~RoundingWorker() = default;

  const std::string& name() const { return name_; }
  /// On a thread of its own, until the queue has nothing more for it. An exception ends the stage for all.
  virtual void work(RoundingQueue& queue) = 0;

 private:
  std::string name_;
};

/// Thread-safe.
class RoundingQueue {
 public:
  /// Called with every outcome, from the thread that hands it in.
  using Sink = std::function<void(const RoundingTask& task, const RoundingOutcome& outcome)>;
  RoundingQueue(std::vector<RoundingTask> tasks, WorkerRates& rates, Sink sink);

  /// The largest task that is left and worth the worker's while: it is left to the others where all of them together
  /// would have done everything that is left before this worker had done it. Nothing: the worker is done.
  std::optional<RoundingTask> take(const RoundingWorker& worker);
  /// What a task has become, and the seconds it took.
  void hand_in(const RoundingWorker& worker, const RoundingTask& task, const RoundingOutcome& outcome, double seconds);

  /// Lets all workers work, the first of them on the calling thread, the others each on one of its own with so many
  /// threads for its parallel loops. Returns when all tasks are done; rethrows the first exception.
  void run(std::span<const std::unique_ptr<RoundingWorker>> workers, int threads_of_each);

 private:
  void end(const RoundingWorker& worker);

  std::mutex mutex_;
  std::vector<RoundingTask> tasks_;  // the smallest first
  double left_ = 0;                  // the sum of their costs
  std::multiset<std::string> working_;
  WorkerRates& rates_;
  Sink sink_;
  std::exception_ptr failure_;
};

}  // namespace steelyard::calibrate
