#include "calibrate/batch_order.h"

#include <algorithm>

#include "base/error.h"

namespace steelyard::calibrate {

void BatchOrder::enter(const std::string& place, int64_t batch) {
  std::unique_lock lock(mutex_);
  int64_t& next = next_[place];
  changed_.wait(lock, [&] {
    while (over_.contains(next)) ++next;
    return failure_ || next >= batch;
  });
  if (failure_) steelyard::fail("", "another device failed");
}

void BatchOrder::leave(const std::string& place, int64_t batch) {
  const std::lock_guard lock(mutex_);
  int64_t& next = next_[place];
  next = std::max(next, batch + 1);
  changed_.notify_all();
}

void BatchOrder::over(int64_t batch) {
  const std::lock_guard lock(mutex_);
  over_.insert(batch);
  changed_.notify_all();
}

void BatchOrder::fail(std::exception_ptr failure) {
  const std::lock_guard lock(mutex_);
  if (!failure_) failure_ = std::move(failure);
  changed_.notify_all();
}

}  // namespace steelyard::calibrate
