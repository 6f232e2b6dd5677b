// The processes that share one job, as the rest of the program sees them: ranks that send each other messages. Started
// by mpirun they are processes on one or several machines (mpi_ranks.cc); in tests they are threads. A job that runs in
// one process has no Ranks at all: a null pointer, and a loop.
//
// Rank 0 leads: it alone reads and writes progress, results and what is printed. What is broken in any rank ends the
// job in all of them. Messages of a rank on a channel arrive in the order in which they were sent; nothing else is
// promised.
#pragma once

#include <cstdint>
#include <string>

#include "cluster/mailbox.h"

namespace steelyard::cluster {

class Ranks {
 public:
  virtual ~Ranks() = default;
  Ranks(const Ranks&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  bool leads() const { return rank_ == 0; }

  /// Waits only while kAhead messages to this rank and channel have not been taken there. Error when the job has
  /// failed.
  virtual void send(int to, Channel channel, Message message) = 0;
  /// Waits for the next message of that rank. Error when the job has failed.
  virtual Message receive(int from, Channel channel) = 0;
  /// The next message of any rank.
  virtual Received receive_any(Channel channel) = 0;
  /// This rank cannot go on: send and receive are Errors from now on, in the other ranks too. The leader's report names
  /// rank and reason.
  virtual void fail(const std::string& why) = 0;

 protected:
  Ranks(int rank, int size) : rank_(rank), size_(size) {}

 private:
  int rank_, size_;
};

/// Whether there is anybody to share work with.
inline bool are_several(const Ranks* ranks) { return ranks != nullptr && ranks->size() > 1; }
/// Whether this process reports and writes: the leader, or the only one.
inline bool leads(const Ranks* ranks) { return ranks == nullptr || ranks->leads(); }

/// The leader's message, in all ranks. The other ranks' argument is not looked at.
Message broadcast(Ranks& ranks, Message message);

int64_t broadcast_number(Ranks& ranks, int64_t number);

/// The smallest of all ranks' numbers, in all of them.
int64_t least(Ranks& ranks, int64_t number);

/// Error in every rank where `what` is not the same in all of them. `subject` completes "rank 1 has another ...".
void expect_equal(Ranks& ranks, const std::string& what, const std::string& subject);

}  // namespace steelyard::cluster
