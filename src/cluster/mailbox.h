// Messages that have arrived at a rank and wait until they are asked for. Thread-safe: messages are put in by the
// thread that receives, and taken out by those that work. Used by the implementations of Ranks.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <string>

namespace steelyard::cluster {

using Message = std::string;

/// What messages are about, so that different conversations do not mix.
enum class Channel : int {
  kBroadcast,  ///< from the leader to all
  kDeal,       ///< the leader deals out work (deal.h), and hears what became of it
  kRelay,      ///< hidden states on their way through layers
  kShare,      ///< what a rank has made, for one or all others
};
inline constexpr int kChannels = 4;

/// Messages that a rank may be ahead of the one that takes them, on a channel.
inline constexpr int kAhead = 4;

struct Received {
  int from = 0;
  Message message;
};

class Mailbox {
 public:
  void put(int from, Channel channel, Message message);
  /// Waits until fewer than kAhead of these messages have not been taken.
  void wait_for_room(int from, Channel channel);

  /// Waits for a message. Error when the job has failed.
  Message take(int from, Channel channel);
  Received take_any(Channel channel);

  /// Whoever waits, or will, gets an Error.
  void fail(const std::string& why);
  bool has_failed();

 private:
  std::deque<Received>& queue(Channel channel) { return queues_[static_cast<size_t>(channel)]; }
  Received take_if(Channel channel, const std::function<bool(const Received&)>& wanted);
  void expect_alive() const;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Received> queues_[kChannels];
  bool failed_ = false;
  std::string why_;
};

}  // namespace steelyard::cluster
