// Batches of a text that pass through a layer at the same time, on several devices, take turns at places where the
// order counts: sums over inputs are added in the order of batches, whoever computes which. Used by HessianCollector.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <map>
#include <mutex>
#include <set>
#include <string>

namespace steelyard::calibrate {

/// Thread-safe.
class BatchOrder {
 public:
  /// Batches are numbered from 0 on.
  BatchOrder() = default;

  /// Waits until every batch before this one has left the place, or is over. Error when a batch has failed meanwhile.
  void enter(const std::string& place, int64_t batch);
  /// A batch that comes back, because it is repeated, does not wait.
  void leave(const std::string& place, int64_t batch);
  /// The batch is over, and no other waits for it any more.
  void over(int64_t batch);
  /// Nobody waits any more. The first failure counts.
  void fail(std::exception_ptr failure);
  /// Throws what failed, if anything did.
  void rethrow() const {
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, int64_t> next_;  // by place: no batch before it is to come
  std::set<int64_t> over_;
  std::exception_ptr failure_;
};

}  // namespace steelyard::calibrate
