// Ranks as threads of the test, so that what is shared among processes is tested without any.
#pragma once

#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/parallel.h"
#include "cluster/ranks.h"

namespace steelyard::test {

class ThreadRanks : public cluster::Ranks {
 public:
  using Boxes = std::vector<std::unique_ptr<cluster::Mailbox>>;
  ThreadRanks(int rank, Boxes& boxes) : Ranks(rank, static_cast<int>(boxes.size())), boxes_(boxes) {}

  void send(int to, cluster::Channel channel, cluster::Message message) override {
    box(to).wait_for_room(rank(), channel);
    box(to).put(rank(), channel, std::move(message));
  }
  cluster::Message receive(int from, cluster::Channel channel) override { return box(rank()).take(from, channel); }
  cluster::Received receive_any(cluster::Channel channel) override { return box(rank()).take_any(channel); }
  void fail(const std::string& why) override {
    for (auto& box : boxes_) box->fail(why);
  }

 private:
  cluster::Mailbox& box(int rank) { return *boxes_[static_cast<size_t>(rank)]; }

  Boxes& boxes_;
};

/// Runs `work` in so many ranks at once, the leader on the calling thread. The failure of one fails the others, as main
/// does it; the leader's exception is rethrown, or the first of another.
inline void in_ranks(int n, const std::function<void(cluster::Ranks&)>& work) {
  ThreadRanks::Boxes boxes(static_cast<size_t>(n));
  for (auto& box : boxes) box = std::make_unique<cluster::Mailbox>();
  std::vector<std::exception_ptr> failures(static_cast<size_t>(n));
  const auto guarded = [&](int rank) {
    ThreadRanks ranks(rank, boxes);
    try {
      work(ranks);
    } catch (const std::exception& error) {
      failures[static_cast<size_t>(rank)] = std::current_exception();
      ranks.fail(error.what());
    } catch (...) {
      failures[static_cast<size_t>(rank)] = std::current_exception();
      ranks.fail("stopped");
    }
  };
  std::vector<std::thread> threads;
  for (int rank = 1; rank < n; ++rank) {
    threads.emplace_back([&guarded, rank] {
      set_thread_count(1);
      guarded(rank);
    });
  }
  guarded(0);
  for (std::thread& thread : threads) thread.join();
  for (const std::exception_ptr& failure : failures) {
    if (failure) std::rethrow_exception(failure);
  }
}

}  // namespace steelyard::test
