#include "cluster/deal.h"

#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/byte_reader.h"
#include "base/byte_writer.h"
#include "base/error.h"

namespace steelyard::cluster {
namespace {

constexpr int64_t kNothing = -1;

Message of_item(int64_t item, std::string_view result = {}) {
  Message message;
  ByteWriter out(message);
  out.number<int64_t>(item);
  out.text(result);
  return message;
}

int64_t item_of(const Message& message) { return load_number<int64_t>(message.data()); }

// The leader's side: a thread answers the other ranks while the caller's works itself.
class Dealer {
 public:
  Dealer(Ranks& ranks, int64_t n_items) : ranks_(ranks), n_items_(n_items), most_ahead_(4 * ranks.size()) {}

  void run(const DealtWork& work, const TakeResult& take) {
    std::thread clerk([this] { answer(); });
    try {
      while (n_taken_ < n_items_) {
        if (const std::optional<int64_t> item = begin_own()) finish(*item, work(*item));
        take_in_order(take);
      }
    } catch (...) {
      ranks_.fail("the leader has stopped");
      clerk.join();
      throw;
    }
    clerk.join();
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  void answer() {
    try {
      for (int n_dismissed = 0; n_dismissed < ranks_.size() - 1;) {
        Received received = ranks_.receive_any(Channel::kDeal);
        std::unique_lock lock(mutex_);
        if (const int64_t item = item_of(received.message); item != kNothing) {
          results_[item] = received.message.substr(sizeof(int64_t));
          changed_.notify_all();
        }
        changed_.wait(lock, [&] { return failure_ || next_ == n_items_ || may_begin(); });
        if (failure_) return;
        const int64_t next = next_ < n_items_ ? next_++ : kNothing;
        lock.unlock();
        n_dismissed += next == kNothing;
        ranks_.send(received.from, Channel::kDeal, of_item(next));
      }
    } catch (...) {
      fail(std::current_exception());
    }
  }

  void fail(std::exception_ptr failure) {
    const std::lock_guard lock(mutex_);
    failure_ = std::move(failure);
    changed_.notify_all();
  }

  // Results of much later items would fill the memory while an early one is not there.
  bool may_begin() const { return next_ < n_items_ && next_ < n_taken_ + most_ahead_; }

  // An item for this rank; nothing when there is something to take first. Waits for either.
  std::optional<int64_t> begin_own() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return failure_ || may_begin() || results_.contains(n_taken_); });
    if (failure_) std::rethrow_exception(failure_);
    if (!may_begin()) return std::nullopt;
    return next_++;
  }

  void finish(int64_t item, Message result) {
    const std::lock_guard lock(mutex_);
    results_[item] = std::move(result);
  }

  void take_in_order(const TakeResult& take) {
    for (std::unique_lock lock(mutex_); results_.contains(n_taken_);) {
      Message result = std::move(results_.extract(n_taken_).mapped());
      lock.unlock();
      take(n_taken_, std::move(result));
      lock.lock();
      ++n_taken_;
      changed_.notify_all();
    }
  }

  Ranks& ranks_;
  int64_t n_items_, most_ahead_;
  std::mutex mutex_;
  std::condition_variable changed_;
  int64_t next_ = 0, n_taken_ = 0;      // the first item that nobody has begun, and the first that was not taken
  std::map<int64_t, Message> results_;  // that were not taken
  std::exception_ptr failure_;
};

}  // namespace

void deal_out(Ranks& ranks, int64_t n_items, const DealtWork& work, const TakeResult& take) {
  if (ranks.size() == 1) {
    for (int64_t item = 0; item < n_items; ++item) take(item, work(item));
    return;
  }
  if (ranks.leads()) return Dealer(ranks, n_items).run(work, take);
  for (Message done = of_item(kNothing);;) {
    ranks.send(0, Channel::kDeal, std::move(done));
    const int64_t item = item_of(ranks.receive(0, Channel::kDeal));
    if (item == kNothing) return;
    done = of_item(item, work(item));
  }
}

}  // namespace steelyard::cluster
