// Where the time of a calibration goes. Work that runs in several threads counts by its share of the time that all of
// it took, so that the parts add up to the whole.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <mutex>
#include <numeric>

namespace steelyard::calibrate {

enum class Work { kForward, kMoments, kFactors, kSearch };
inline constexpr size_t kWorks = 4;

/// Seconds by kind of work.
class StageTimes {
 public:
  /// Since an earlier state.
  friend StageTimes operator-(StageTimes after, const StageTimes& before) {
    for (size_t i = 0; i < kWorks; ++i) after.seconds_[i] -= before.seconds_[i];
    return after;
  }
  double of(Work work) const { return seconds_[static_cast<size_t>(work)]; }
  void add(Work work, double seconds) { seconds_[static_cast<size_t>(work)] += seconds; }

 private:
  std::array<double, kWorks> seconds_ = {};
};

class Stopwatch {
 public:
  /// Since the beginning, or since the last call.
  double lap() {
    const auto now = Clock::now();
    const double seconds = std::chrono::duration<double>(now - begin_).count();
    begin_ = now;
    return seconds;
  }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point begin_ = Clock::now();
};

/// A loop whose threads do several kinds of work. Its end adds what it took to `times`, which may be null.
class TimedLoop {
 public:
  explicit TimedLoop(StageTimes* times) : times_(times) {}
  TimedLoop(const TimedLoop&) = delete;
  ~TimedLoop() {
    const double all = std::accumulate(of_threads_.begin(), of_threads_.end(), 0.0), took = watch_.lap();
    if (times_ == nullptr || all == 0.0) return;
    for (size_t i = 0; i < kWorks; ++i) times_->add(static_cast<Work>(i), took * of_threads_[i] / all);
  }

  /// Seconds of one thread. Thread-safe.
  void add(Work work, double seconds) {
    const std::lock_guard lock(mutex_);
    of_threads_[static_cast<size_t>(work)] += seconds;
  }

 private:
  StageTimes* times_;
  Stopwatch watch_;
  std::mutex mutex_;
  std::array<double, kWorks> of_threads_ = {};
};

}  // namespace steelyard::calibrate
