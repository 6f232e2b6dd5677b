// Runs a command line as a user would, and says what came of it: exit status, stdout, stderr. Limits make a small
// machine or a full disk out of a large one.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <functional>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace steelyard::test {

struct CommandLimits {
  rlim_t address_space = RLIM_INFINITY;  ///< bytes; not applied under AddressSanitizer, which maps terabytes
  rlim_t file_size = RLIM_INFINITY;      ///< bytes of any file written; what goes beyond fails with EFBIG
  std::string input = "/dev/null";       ///< file that is the standard input
  int seconds = 120;                     ///< wall clock; then the command is killed, which the result shows as signal 9
};

struct CommandResult {
  int exit_code = -1;  ///< -1 when a signal ended the command
  int signal = 0;      ///< the signal that ended it, or 0
  std::string out;
  std::string err;
};

/// True for exactly one non-empty line, its newline included: what every error message must be.
inline bool is_one_line(const std::string& text) { return text.size() > 1 && text.find('\n') == text.size() - 1; }

namespace command_detail {

inline int checked(int result, const char* what) {
  if (result < 0) throw std::system_error(errno, std::generic_category(), what);
  return result;
}

struct Pipe {
  int read_end, write_end;
  Pipe() {
    int ends[2];
    checked(::pipe2(ends, O_CLOEXEC), "pipe");
    read_end = ends[0];
    write_end = ends[1];
  }
};

inline void limit(int resource, rlim_t value) {
  if (value == RLIM_INFINITY) return;
  const rlimit limits = {value, value};
  if (::setrlimit(static_cast<__rlimit_resource>(resource), &limits) != 0) ::_exit(126);
}

/// Between fork and exec: system calls only, for other threads may hold locks.
[[noreturn]] inline void become(char* const* argv, int out, int err, const CommandLimits& limits) {
  const int in = ::open(limits.input.c_str(), O_RDONLY);
  if (in < 0 || ::dup2(in, 0) < 0 || ::dup2(out, 1) < 0 || ::dup2(err, 2) < 0) ::_exit(126);
#if !defined(__SANITIZE_ADDRESS__)
  limit(RLIMIT_AS, limits.address_space);
#endif
  limit(RLIMIT_FSIZE, limits.file_size);
  limit(RLIMIT_CORE, 0);
  ::execv(argv[0], argv);
  ::_exit(127);
}

/// Reads both pipes until the command has closed them. False when the time is over first.
inline bool drain(int out_fd, int err_fd, const CommandLimits& limits, CommandResult& result) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(limits.seconds);
  pollfd polled[] = {{out_fd, POLLIN, 0}, {err_fd, POLLIN, 0}};
  std::string* texts[] = {&result.out, &result.err};
  while (polled[0].fd >= 0 || polled[1].fd >= 0) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) return false;
    if (::poll(polled, 2, static_cast<int>(left.count())) < 0 && errno != EINTR) checked(-1, "poll");
    for (int i = 0; i < 2; ++i) {
      if (polled[i].fd < 0 || polled[i].revents == 0) continue;
      char buffer[4096];
      const ssize_t n = ::read(polled[i].fd, buffer, sizeof(buffer));
      if (n > 0) {
        texts[i]->append(buffer, static_cast<size_t>(n));
      } else if (n == 0 || errno != EINTR) {
        polled[i].fd = -1;  // poll skips negative descriptors
      }
    }
  }
  return true;
}

}  // namespace command_detail

/// Runs `command` (the first element is the path of the program) with an empty stdin and waits for its end. Exit code
/// 127: the program could not be started.
inline CommandResult run_command(const std::vector<std::string>& command, const CommandLimits& limits = {}) {
  using namespace command_detail;
  std::vector<char*> argv;
  for (const std::string& argument : command) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);

  const Pipe out, err;
  const pid_t child = checked(::fork(), "fork");
  if (child == 0) become(argv.data(), out.write_end, err.write_end, limits);
  ::close(out.write_end);
  ::close(err.write_end);

  CommandResult result;
  if (!drain(out.read_end, err.read_end, limits, result)) ::kill(child, SIGKILL);
  ::close(out.read_end);
  ::close(err.read_end);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) checked(-1, "waitpid");
  }
  if (WIFEXITED(status)) result.exit_code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) result.signal = WTERMSIG(status);
  return result;
}

/// A command at work, its output thrown away, to be killed. Killed at the latest with this object.
class BackgroundCommand {
 public:
  /// err: where its standard error goes.
  explicit BackgroundCommand(const std::vector<std::string>& command, const std::string& err = "/dev/null") {
    std::vector<char*> argv;
    for (const std::string& argument : command) argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    const int null = command_detail::checked(::open("/dev/null", O_RDWR | O_CLOEXEC), "/dev/null");
    const int error = command_detail::checked(::open(err.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600), err.c_str());
    child_ = command_detail::checked(::fork(), "fork");
    if (child_ == 0) command_detail::become(argv.data(), null, error, {});
    ::close(null);
    ::close(error);
  }
  BackgroundCommand(const BackgroundCommand&) = delete;
  ~BackgroundCommand() { kill(); }

  /// Sleeps until `state` holds or the command has ended; true if it is still there.
  bool wait_for(const std::function<bool()>& state) {
    while (!state()) {
      if (ended(WNOHANG)) return false;
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
    return true;
  }
  /// True if it was still at work.
  bool kill(int signal = SIGKILL) {
    if (status_) return WIFSIGNALED(*status_);
    ::kill(child_, signal);
    ended(0);
    return WIFSIGNALED(*status_);
  }
  pid_t id() const { return child_; }
  void stop() const { ::kill(child_, SIGSTOP); }
  /// Continues after stop() until the end; returns the exit code, -1 for a signal.
  int finish() {
    ::kill(child_, SIGCONT);
    ended(0);
    return WIFEXITED(*status_) ? WEXITSTATUS(*status_) : -1;
  }

 private:
  bool ended(int options) {
    if (status_) return true;
    int status = 0;
    if (::waitpid(child_, &status, options) != child_) return false;
    status_ = status;
    return true;
  }

  pid_t child_;
  std::optional<int> status_;
};

#ifdef STEELYARD_BINARY
inline std::vector<std::string> with_binary(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), STEELYARD_BINARY);
  return arguments;
}

/// Runs the steelyard binary with `arguments`: run({"inspect", file}).
inline CommandResult run(const std::vector<std::string>& arguments, const CommandLimits& limits = {}) {
  return run_command(with_binary(arguments), limits);
}
#endif

}  // namespace steelyard::test
