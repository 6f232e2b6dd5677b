// The queue of a stage's tasks: each is done once, the largest first, and whoever is slow leaves the end to others.
#include "calibrate/rounding_queue.h"

#include <gtest/gtest.h>

#include <stdexcept>

#include "calibrate/rounding_lanes.h"

namespace steelyard::calibrate {
namespace {

// Does nothing with tasks but remember them.
class Recorder : public RoundingWorker {
 public:
  explicit Recorder(const std::string& name, int64_t fails_at = -1) : RoundingWorker(name), fails_at_(fails_at) {}
  void work(RoundingQueue& queue) override {
    while (const auto task = queue.take(*this)) {
      if (task->index == fails_at_) throw std::runtime_error("lost");
      done.push_back(task->index);
      queue.hand_in(*this, *task, {}, 1);
    }
  }
  std::vector<int64_t> done;

 private:
  int64_t fails_at_;
};

std::vector<RoundingTask> tasks(const std::vector<double>& costs) {
  std::vector<RoundingTask> tasks;
  for (const double cost : costs) tasks.push_back({.index = std::ssize(tasks), .cost = cost});
  return tasks;
}

TEST(RoundingQueue, EveryTaskIsDoneOnceTheLargestFirst) {
  WorkerRates rates;
  std::vector<int64_t> kept;
  RoundingQueue queue(tasks({1, 3, 2, 3}), rates,
                      [&](const RoundingTask& task, const RoundingOutcome&) { kept.push_back(task.index); });
  const std::unique_ptr<RoundingWorker> workers[] = {std::make_unique<Recorder>("one")};
  queue.run(workers, 1);
  EXPECT_EQ(kept, (std::vector<int64_t>{1, 3, 2, 0}));
  EXPECT_EQ(rates.all().at("one").n_tasks, 4);
  EXPECT_DOUBLE_EQ(rates.of("one"), 9.0 / 4);
  EXPECT_EQ(rates.of("other"), 0.0);
}

TEST(RoundingQueue, ManyWorkersShareTheTasks) {
  WorkerRates rates;
  std::mutex keeping;
  std::multiset<int64_t> kept, all;
  for (int64_t i = 0; i < 200; ++i) all.insert(i);
  RoundingQueue queue(tasks(std::vector<double>(200, 1.0)), rates, [&](const RoundingTask& task, const auto&) {
    const std::lock_guard lock(keeping);
    kept.insert(task.index);
  });
  std::vector<std::unique_ptr<RoundingWorker>> workers;
  for (int i = 0; i < 8; ++i) workers.push_back(std::make_unique<Recorder>("alike"));
  queue.run(workers, 1);
  EXPECT_EQ(kept, all);
}

// A worker that is ten times slower takes what the other would not be done with before it, and nothing at the end.
TEST(RoundingQueue, WhatIsSlowLeavesTheEndToOthers) {
  WorkerRates rates;
  rates.add("quick", 10, 1);
  rates.add("slow", 1, 1);
  Recorder* const slow = new Recorder("slow");
  const std::unique_ptr<RoundingWorker> workers[] = {std::make_unique<Recorder>("quick"),
                                                     std::unique_ptr<RoundingWorker>(slow)};
  RoundingQueue queue(tasks({5, 4, 1}), rates, [](const auto&, const auto&) {});
  queue.run(workers, 1);
  for (const int64_t index : slow->done) EXPECT_EQ(index, 2);  // only with 10 or more left it is worth its while
  // Alone it does everything.
  Recorder* const alone = new Recorder("slow");
  const std::unique_ptr<RoundingWorker> left[] = {std::unique_ptr<RoundingWorker>(alone)};
  RoundingQueue other(tasks({5, 4, 1}), rates, [](const auto&, const auto&) {});
  other.run(left, 1);
  EXPECT_EQ(alone->done.size(), 3u);
}

TEST(RoundingQueue, AFailureEndsTheStageForAll) {
  WorkerRates rates;
  RoundingQueue queue(tasks(std::vector<double>(100, 1.0)), rates, [](const auto&, const auto&) {});
  const std::unique_ptr<RoundingWorker> workers[] = {std::make_unique<Recorder>("one", 0),
                                                     std::make_unique<Recorder>("two", 0)};
  EXPECT_THROW(queue.run(workers, 1), std::runtime_error);
}

TEST(RoundingLanes, AsMuchAsThereIsRoomAndWorkFor) {
  const auto lanes = [](auto... of) {
    const RoundingLanes made = plan_lanes(of...);
    return std::tuple(made.on_processor, made.on_devices, made.threads_of_each);
  };
  EXPECT_EQ(lanes(16, 0, 100, 64.0, 0.0), std::tuple(16, 0, 1));  // experts
  EXPECT_EQ(lanes(16, 0, 4, 64.0, 0.0), std::tuple(4, 0, 4));     // little memory
  EXPECT_EQ(lanes(16, 0, 100, 1.8, 0.0), std::tuple(1, 0, 16));   // one large matrix
  EXPECT_EQ(lanes(16, 1, 100, 64.0, 0.0), std::tuple(14, 2, 1));
  EXPECT_EQ(lanes(16, 1, 100, 64.0, 0.1), std::tuple(6, 10, 1));
  EXPECT_EQ(lanes(16, 6, 100, 64.0, 0.1), std::tuple(4, 12, 1));
  EXPECT_EQ(lanes(2, 6, 100, 64.0, 0.0), std::tuple(1, 6, 1));
  EXPECT_EQ(lanes(2, 6, 3, 64.0, 0.0), std::tuple(0, 3, 1));  // devices come first, as many as there is memory for
  EXPECT_EQ(lanes(2, 1, 1, 64.0, 0.0), std::tuple(0, 1, 2));
  EXPECT_EQ(most_lanes(2, 6), 7);
  EXPECT_EQ(most_lanes(16, 6), 16);
}

}  // namespace
}  // namespace steelyard::calibrate
