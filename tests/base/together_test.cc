#include "base/together.h"

#include <gtest/gtest.h>

#include <latch>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "base/parallel.h"

namespace steelyard {
namespace {

// Each waits for all others.
TEST(Together, AllAreAtWorkAtTheSameTime) {
  constexpr size_t kAll = 5;
  std::latch here(kAll);
  std::vector<std::thread::id> ids(kAll);
  std::vector<int> threads(kAll);
  const int before = set_thread_count(0);
  run_together(kAll, 3, [&](size_t i) {
    here.arrive_and_wait();
    ids[i] = std::this_thread::get_id();
    threads[i] = set_thread_count(0);
  });
  EXPECT_EQ(std::set(ids.begin(), ids.end()).size(), kAll);
  EXPECT_EQ(ids[0], std::this_thread::get_id());
  EXPECT_EQ(threads, std::vector<int>(kAll, 3));
  EXPECT_EQ(set_thread_count(0), before);
}

TEST(Together, AnExceptionComesWhenAllHaveReturned) {
  int n_returned = 0;
  std::latch failed(1);
  const auto run = [&] {
    run_together(2, 1, [&](size_t i) {
      if (i == 1) {
        failed.count_down();
        throw std::runtime_error("one");
      }
      failed.wait();
      ++n_returned;
    });
  };
  EXPECT_THROW(run(), std::runtime_error);
  EXPECT_EQ(n_returned, 1);
}

}  // namespace
}  // namespace steelyard
