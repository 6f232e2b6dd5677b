// A helper program in a process of its own, for work that is not to be trusted with ours: it is spoken to over its
// standard input and output, and does nothing else. This is the only place that starts processes.
//
// What the child has, whatever it runs:
// - One socket as input and output, /dev/null as standard error, no other open file, and a small environment.
// - Limits on memory and on files (none can be written). The program may give up more (confinement_filter).
// - A session of its own: what is typed at our terminal does not reach it.
// - No life after ours. Its input ends when we end, and while it computes, the kernel ends it (where the main thread
//   started it) or its limits do.
// A child that hangs, dies or closes its output is an outcome here, not a signal: SIGPIPE is never raised.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace steelyard {

class ChildProcess {
 public:
  using Clock = std::chrono::steady_clock;

  struct Options {
    std::vector<std::string> arguments;  ///< the program's path first; it is not looked up
    uint64_t memory_bytes = 0;           ///< of address space; 0: no limit
  };

  enum class Outcome {
    kDone,
    kTimeout,  ///< the deadline passed
    kEnded,    ///< it has closed its side, or is dead
    kTooLong,  ///< the line has more bytes than allowed
  };

  /// Error when no process can be made. A program that is not there ends with exit status 127.
  explicit ChildProcess(const Options& options);
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;
  /// Kills it.
  ~ChildProcess();

  /// Gives it all of `bytes`.
  Outcome write(std::string_view bytes, Clock::time_point deadline);
  /// Its next line, without the newline.
  Outcome read_line(std::string& line, size_t most_bytes, Clock::time_point deadline);

  /// Kills it if it still runs. Its status, as waitpid gives it.
  int end();

 private:
  Outcome wait_for(short events, Clock::time_point deadline) const;

  pid_t pid_ = -1;  // -1: reaped
  int socket_ = -1;
  int status_ = 0;
  std::string unread_;
};

/// A seccomp filter, as an array of the kernel's `sock_filter`: whoever installs it can read and write what is open,
/// manage its own memory and limits, and tell the time; every other call fails with EPERM. Empty on processors that it
/// is not written for.
std::string confinement_filter();

}  // namespace steelyard
