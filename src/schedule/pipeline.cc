#include "schedule/pipeline.h"

#include "base/parallel.h"
#include "base/together.h"

namespace steelyard::schedule {

void Pipeline::run(const std::function<void(size_t stage)>& work) {
  run_together(n_passed_.size(), set_thread_count(0), [&](size_t stage) {
    try {
      work(stage);
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!failure_) failure_ = std::current_exception();
      changed_.notify_all();
    }
  });
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
