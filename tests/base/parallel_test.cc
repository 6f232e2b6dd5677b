#include "base/parallel.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <vector>

namespace steelyard {
namespace {

TEST(ParallelForTest, VisitsEveryIndexOnce) {
  for (const int64_t grain : {1, 7, 5000}) {
    std::vector<std::atomic<int>> visits(1000);
    parallel_for(1000, grain, [&](int64_t i) { ++visits[static_cast<size_t>(i)]; });
    for (const auto& n : visits) ASSERT_EQ(n, 1);
  }
  parallel_for(0, 1, [](int64_t) { FAIL() << "an empty range has no index"; });
}

TEST(ParallelForTest, RethrowsAfterTheLoop) {
  std::atomic<int> visits = 0;
  const auto body = [&](int64_t i) {
    ++visits;
    if (i % 10 == 3) throw std::runtime_error("index ends in 3");
  };
  EXPECT_THROW(parallel_for(100, 1, body), std::runtime_error);
  EXPECT_EQ(visits, 100);
}

TEST(ParallelForTest, ThreadCountCanBeSet) {
  const int before = set_thread_count(0);
  EXPECT_EQ(set_thread_count(3), 3);
  EXPECT_EQ(set_thread_count(before), before);
}

}  // namespace
}  // namespace steelyard
