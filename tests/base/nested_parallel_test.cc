#include "base/nested_parallel.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <vector>

namespace steelyard {
namespace {

TEST(ParallelForFew, VisitsEveryIndexOnceAndFewAtATime) {
  const int before = set_thread_count(0);
  set_thread_count(6);
  for (const int64_t at_once : {int64_t{1}, int64_t{4}, int64_t{6}, INT64_MAX}) {
    std::vector<std::atomic<int>> visits(40), inner(40);
    std::atomic<int> now = 0, most = 0;
    parallel_for_few(40, at_once, [&](int64_t i) {
      const int here = ++now;
      for (int seen = most; seen < here && !most.compare_exchange_weak(seen, here);) continue;
      ++visits[static_cast<size_t>(i)];
      parallel_for(100, 1, [&](int64_t) { ++inner[static_cast<size_t>(i)]; });
      --now;
    });
    for (const auto& n : visits) EXPECT_EQ(n, 1);
    for (const auto& n : inner) EXPECT_EQ(n, 100);
    EXPECT_LE(most, at_once);
  }
  EXPECT_EQ(omp_get_max_threads(), 6);
  parallel_for_few(0, 2, [](int64_t) { FAIL() << "an empty range has no index"; });
  set_thread_count(before);
}

// Of six threads, two bodies at a time have three each for the loops inside of them.
TEST(ParallelForFew, LoopsInsideShareTheThreads) {
  const int before = set_thread_count(0);
  set_thread_count(6);
  parallel_for_few(4, 2, [](int64_t) { EXPECT_EQ(omp_get_max_threads(), 3); });
  set_thread_count(before);
}

TEST(ParallelForFew, RethrowsAfterTheLoop) {
  const int before = set_thread_count(0);
  set_thread_count(5);
  for (const int64_t at_once : {1, 2, 5}) {
    std::atomic<int> visits = 0;
    const auto body = [&](int64_t i) {
      ++visits;
      if (i % 10 == 3) throw std::runtime_error("index ends in 3");
    };
    EXPECT_THROW(parallel_for_few(30, at_once, body), std::runtime_error);
    EXPECT_EQ(visits, 30);
  }
  set_thread_count(before);
}

}  // namespace
}  // namespace steelyard
