// Stages that work on batches at the same time, each on a thread of its own: a batch may begin in a stage when it has
// passed the one before. Used by the sweep for layers on different backends.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <vector>

namespace steelyard::schedule {

class Pipeline {
 public:
  explicit Pipeline(size_t n_stages) : n_passed_(n_stages) {}

  /// Calls work(stage) for every stage, stage 0 on the calling thread, and returns when all have. The first exception
  /// of a stage makes the others stop at their next batch and is rethrown.
  void run(const std::function<void(size_t stage)>& work);

  /// For the work of a stage, batch after batch from 0 on: waits until the batch has passed the stage before. False
  /// when another stage failed.
  bool wait_for(size_t stage, int64_t batch);
  /// The stage's next batch has passed.
  void passed(size_t stage);

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<int64_t> n_passed_;  // batches, of each stage
  std::exception_ptr failure_;
};

}  // namespace steelyard::schedule
