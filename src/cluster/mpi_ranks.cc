// Ranks as processes that mpirun has started. One thread of each process does all that MPI does: it sends what the
// others have queued, and puts what arrives into the mailbox. So nobody waits within MPI, where waiting takes a whole
// core, and a message moves while both sides compute. The thread sleeps for a fraction of a millisecond when there is
// nothing to do.
//
// In place of alone.cc where the build has STEELYARD_MPI.
#include <fcntl.h>
#include <mpi.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <list>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/signals.h"
#include "cluster/this_job.h"

namespace steelyard::cluster {
namespace {

// A message goes in pieces, since MPI counts in int. Tags: twice the channel for a message's last piece, one more for
// those before it; then these.
constexpr size_t kPiece = size_t{1} << 28;
enum Tag : int { kTaken = 2 * kChannels, kFailed = kTaken + kChannels, kGoodbye };

constexpr std::chrono::microseconds kShortestSleep{20}, kLongestSleep{400};

struct Place {
  int rank = 0, size = 1;
};

class MpiRanks : public Ranks {
 public:
  explicit MpiRanks(Place place) : Ranks(place.rank, place.size), traffic_(static_cast<size_t>(place.size)) {
    thread_ = std::thread([this] { serve(); });
  }

  ~MpiRanks() override {
    {
      const std::lock_guard lock(mutex_);
      leaving_ = true;
      for (int to = 1; leads() && to < size(); ++to) queued_.push_back({to, kGoodbye, {}});
    }
    changed_.notify_all();
    thread_.join();
    MPI_Finalize();
  }

  void send(int to, Channel channel, Message message) override {
    const auto at = static_cast<size_t>(channel);
    std::unique_lock lock(mutex_);
    int& waiting = traffic_[static_cast<size_t>(to)].waiting[at];
    taken_.wait(lock, [&] { return waiting < kAhead || mailbox_.has_failed(); });
    if (mailbox_.has_failed()) {
      lock.unlock();
      mailbox_.wait_for_room(to, channel);  // throws
    }
    ++waiting;
    queued_.push_back({to, 2 * static_cast<int>(channel), std::move(message)});
    changed_.notify_all();
  }

  Message receive(int from, Channel channel) override {
    Message message = mailbox_.take(from, channel);
    queue(from, kTaken + static_cast<int>(channel), {});
    return message;
  }

  Received receive_any(Channel channel) override {
    Received received = mailbox_.take_any(channel);
    queue(received.from, kTaken + static_cast<int>(channel), {});
    return received;
  }

  void fail(const std::string& why) override {
    mailbox_.fail(why);
    taken_.notify_all();
    for (int to = 0; to < size(); ++to) {
      if (to != rank() && (leads() || to == 0)) queue(to, kFailed, why);
    }
  }

  [[noreturn]] void abandon(int exit_status) {
    // The leader ends all when it has reported what it was told.
    if (leads()) abandoned_ = exit_status;
    changed_.notify_all();
    while (true) ::pause();
  }

 private:
  struct Outgoing {
    int to, tag;
    Message message;
    std::vector<MPI_Request> pieces = {};
  };
  // With another rank, by channel.
  struct Traffic {
    std::array<int, kChannels> waiting = {};  // messages that it has not taken
    std::array<Message, kChannels> arriving;  // pieces of its next one
  };

  void queue(int to, int tag, Message message) {
    const std::lock_guard lock(mutex_);
    queued_.push_back({to, tag, std::move(message)});
    changed_.notify_all();
  }

  void serve() {
    auto sleep = kShortestSleep;
    while (true) {
      if (abandoned_ >= 0) MPI_Abort(MPI_COMM_WORLD, abandoned_);
      const bool is_busy = send_queued() | receive_arrived();
      std::unique_lock lock(mutex_);
      if (leaving_ && (leads() || dismissed_) && queued_.empty() && under_way_.empty()) return;
      sleep = is_busy ? kShortestSleep : std::min(2 * sleep, kLongestSleep);
      if (!is_busy) changed_.wait_for(lock, sleep, [&] { return !queued_.empty(); });
    }
  }

  // Returns whether something moved.
  bool send_queued() {
    std::list<Outgoing> fresh;
    {
      const std::lock_guard lock(mutex_);
      fresh.swap(queued_);
    }
    bool moved = !fresh.empty();
    for (Outgoing& out : fresh) {
      for (size_t begin = 0; begin == 0 || begin < out.message.size(); begin += kPiece) {
        const size_t n = std::min(kPiece, out.message.size() - begin);
        const bool more = begin + n < out.message.size();
        MPI_Isend(out.message.data() + begin, static_cast<int>(n), MPI_BYTE, out.to, out.tag + (more ? 1 : 0),
                  MPI_COMM_WORLD, &out.pieces.emplace_back());
      }
    }
    under_way_.splice(under_way_.end(), fresh);
    for (auto out = under_way_.begin(); out != under_way_.end();) {
      int is_sent = 0;
      MPI_Testall(static_cast<int>(out->pieces.size()), out->pieces.data(), &is_sent, MPI_STATUSES_IGNORE);
      moved = moved || is_sent != 0;
      out = is_sent != 0 ? under_way_.erase(out) : std::next(out);
    }
    return moved;
  }

  bool receive_arrived() {
    bool moved = false;
    while (true) {
      int is_there = 0;
      MPI_Message handle = MPI_MESSAGE_NULL;
      MPI_Status status;
      MPI_Improbe(MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &is_there, &handle, &status);
      if (is_there == 0) return moved;
      int n = 0;
      MPI_Get_count(&status, MPI_BYTE, &n);
      Message piece(static_cast<size_t>(n), '\0');
      MPI_Mrecv(piece.data(), n, MPI_BYTE, &handle, MPI_STATUS_IGNORE);
      take_in(status.MPI_SOURCE, status.MPI_TAG, std::move(piece));
      moved = true;
    }
  }

  void take_in(int from, int tag, Message piece) {
    Traffic& traffic = traffic_[static_cast<size_t>(from)];
    if (tag == kGoodbye) {
      const std::lock_guard lock(mutex_);
      dismissed_ = true;
    } else if (tag == kFailed) {
      mailbox_.fail(leads() ? fmt::format("rank {}: {}", from, piece) : piece);
      taken_.notify_all();
    } else if (tag >= kTaken) {
      const std::lock_guard lock(mutex_);
      --traffic.waiting[static_cast<size_t>(tag - kTaken)];
      taken_.notify_all();
    } else {
      Message& arriving = traffic.arriving[static_cast<size_t>(tag / 2)];
      if (arriving.empty()) {
        arriving = std::move(piece);
      } else {
        arriving += piece;
      }
      if (tag % 2 == 0) mailbox_.put(from, static_cast<Channel>(tag / 2), std::exchange(arriving, {}));
    }
  }

  Mailbox mailbox_;
  std::mutex mutex_;
  std::condition_variable changed_, taken_;
  std::list<Outgoing> queued_, under_way_;
  std::vector<Traffic> traffic_;  // [size]
  bool leaving_ = false, dismissed_ = false;
  std::atomic<int> abandoned_ = -1;
  std::thread thread_;
};

// ---- what is said when the system ends the processes

int shown_errors = -1;                   // the standard error, also of ranks whose output is not shown
std::array<pid_t, 64> lower_ranks = {};  // on this machine; 0 ends them

// mpirun ends the others when a process has died. The lowest rank of a machine that is still there says so. It stays a
// moment, so that the others find it.
void say_that_another_died() {
  for (const pid_t process : lower_ranks) {
    if (process == 0) break;
    if (::kill(process, 0) == 0) {
      ::usleep(200'000);
      return;
    }
  }
  constexpr char kText[] =
      "steelyard: a process of this job has died, or was told to end; with --resume, it goes on where it was\n";
  [[maybe_unused]] const ssize_t ignored = ::write(shown_errors, kText, sizeof(kText) - 1);
  ::usleep(200'000);
}

void introduce(const Place& place) {
  struct Process {
    char host[256];
    pid_t id;
  };
  std::vector<Process> processes(static_cast<size_t>(place.size));
  Process own{};
  ::gethostname(own.host, sizeof(own.host) - 1);
  own.id = ::getpid();
  MPI_Allgather(&own, sizeof(own), MPI_BYTE, processes.data(), sizeof(own), MPI_BYTE, MPI_COMM_WORLD);
  size_t n = 0;
  for (int i = 0; i < place.rank && n + 1 < lower_ranks.size(); ++i) {
    const Process& process = processes[static_cast<size_t>(i)];
    if (std::strcmp(process.host, own.host) == 0) lower_ranks[n++] = process.id;
  }
  shown_errors = ::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
  set_last_words(say_that_another_died);
  if (place.rank != 0) hide_output();
}

}  // namespace

std::unique_ptr<Ranks> join_job() {
  const auto is_set = [](const char* name) { return std::getenv(name) != nullptr; };
  if (!is_set("OMPI_COMM_WORLD_SIZE") && !is_set("PMIX_RANK") && !is_set("PMI_RANK")) return nullptr;
  int provided = 0;
  MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided);
  if (provided < MPI_THREAD_SERIALIZED) fail("", "this MPI lets only one thread use it");
  Place place;
  MPI_Comm_rank(MPI_COMM_WORLD, &place.rank);
  MPI_Comm_size(MPI_COMM_WORLD, &place.size);
  if (place.size == 1) {
    MPI_Finalize();
    return nullptr;
  }
  introduce(place);
  return std::make_unique<MpiRanks>(place);
}

void abandon_job(Ranks& ranks, const std::string& why, int exit_status) {
  if (!ranks.leads()) ranks.fail(why);
  static_cast<MpiRanks&>(ranks).abandon(exit_status);
}

}  // namespace steelyard::cluster
