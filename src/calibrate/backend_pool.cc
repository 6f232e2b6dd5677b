#include "calibrate/backend_pool.h"

#include <algorithm>

#include "base/check.h"

namespace steelyard::calibrate {

BackendPool::BackendPool(const std::vector<compute::Backend*>& backends) {
  STEELYARD_CHECK(!backends.empty());
  for (compute::Backend* backend : backends) places_.push_back({backend});
}

BackendPool::Lease BackendPool::take(std::optional<size_t> index) {
  std::unique_lock lock(mutex_);
  auto place = places_.end();
  freed_.wait(lock, [&] {
    if (index) {
      place = places_.begin() + static_cast<std::ptrdiff_t>(*index);
      return !place->taken;
    }
    place = std::ranges::find(places_, false, &Place::taken);
    return place != places_.end();
  });
  place->taken = true;
  return {this, static_cast<size_t>(place - places_.begin())};
}

BackendPool::Lease::~Lease() {
  if (pool_ == nullptr) return;
  {
    const std::lock_guard lock(pool_->mutex_);
    pool_->places_[index_].taken = false;
  }
  pool_->freed_.notify_all();
}

}  // namespace steelyard::calibrate
