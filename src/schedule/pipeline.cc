#include "schedule/pipeline.h"

#include <thread>

#include "base/parallel.h"

namespace steelyard::schedule {

void Pipeline::run(const std::function<void(size_t stage)>& work) {
  const int n_threads = omp_get_max_threads();  // which new threads do not inherit
  const auto guarded = [&](size_t stage) {
    try {
      work(stage);
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!failure_) failure_ = std::current_exception();
      changed_.notify_all();
    }
  };
  {
    std::vector<std::jthread> threads;
    for (size_t stage = 1; stage < n_passed_.size(); ++stage) {
      threads.emplace_back([&, stage] {
        set_thread_count(n_threads);
        guarded(stage);
      });
    }
    guarded(0);
  }
  if (failure_) std::rethrow_exception(failure_);
}

bool Pipeline::wait_for(size_t stage, int64_t batch) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return failure_ || stage == 0 || n_passed_[stage - 1] > batch; });
  return !failure_;
}

void Pipeline::passed(size_t stage) {
  const std::lock_guard lock(mutex_);
  ++n_passed_[stage];
  changed_.notify_all();
}

}  // namespace steelyard::schedule
