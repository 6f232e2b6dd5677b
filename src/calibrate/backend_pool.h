// Backends of several devices on which sums over inputs are made: each computes for one thread at a time. All give the
// same sums, bit for bit, so whoever needs some takes the one that is free.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "compute/backend.h"

namespace steelyard::calibrate {

/// Thread-safe.
class BackendPool {
 public:
  /// At least one, which nobody else uses meanwhile and which outlive this.
  explicit BackendPool(const std::vector<compute::Backend*>& backends);

  /// A backend that is its holder's alone, until it is destroyed.
  class Lease {
   public:
    Lease(Lease&& other) noexcept : pool_(std::exchange(other.pool_, nullptr)), index_(other.index_) {}
    ~Lease();
    compute::Backend& operator*() const { return *pool_->places_[index_].backend; }
    compute::Backend* operator->() const { return &**this; }

   private:
    friend BackendPool;
    Lease(BackendPool* pool, size_t index) : pool_(pool), index_(index) {}
    BackendPool* pool_;
    size_t index_;
  };
  /// Waits until that backend, or any, is free.
  Lease take(std::optional<size_t> index = std::nullopt);
  size_t size() const { return places_.size(); }

 private:
  struct Place {
    compute::Backend* backend;
    bool taken = false;
  };
  std::vector<Place> places_;
  std::mutex mutex_;
  std::condition_variable freed_;
};

}  // namespace steelyard::calibrate
