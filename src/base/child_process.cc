#include "base/child_process.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "base/error.h"

namespace steelyard {
namespace {

#if defined(__x86_64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#else
constexpr uint32_t kArchitecture = 0;
#endif

void limit(int resource, rlim_t most) {
  const rlimit both = {most, most};
  ::setrlimit(static_cast<__rlimit_resource_t>(resource), &both);
}

void close_all_but_standard() {
#ifdef SYS_close_range
  if (::syscall(SYS_close_range, 3u, ~0u, 0u) == 0) return;
#endif
  for (int fd = 3; fd < 4096; ++fd) ::close(fd);
}

// Between fork and exec of a process that has threads: system calls only, and no memory is allocated.
[[noreturn]] void become(const ChildProcess::Options& options, char* const* arguments, char* const* environment,
                         int socket, pid_t parent, bool dies_with_thread) {
  if (dies_with_thread) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(127);  // it has died meanwhile
  }
  ::setsid();
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  const int null = ::open("/dev/null", O_WRONLY);
  if (null < 0 || ::dup2(null, STDERR_FILENO) < 0) ::_exit(127);
  if (::dup2(socket, STDIN_FILENO) < 0 || ::dup2(socket, STDOUT_FILENO) < 0) ::_exit(127);
  close_all_but_standard();
  if (::chdir("/") != 0) ::_exit(127);
  if (options.memory_bytes > 0) limit(RLIMIT_AS, options.memory_bytes);
  limit(RLIMIT_FSIZE, 0);
  limit(RLIMIT_CORE, 0);
  ::execve(arguments[0], arguments, environment);
  ::_exit(127);
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> all;
  for (std::string& text : texts) all.push_back(text.data());
  all.push_back(nullptr);
  return all;
}

}  // namespace

ChildProcess::ChildProcess(const Options& options) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    fail("", "cannot start a process: {}", std::strerror(errno));
  }
  // Numbers that the child's standard streams have would be overwritten.
  for (int& end : ends) {
    if (end > STDERR_FILENO) continue;
    const int higher = ::fcntl(end, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    ::close(end);
    end = higher;
  }
  socket_ = ends[0];
  std::vector<std::string> arguments = options.arguments, environment = {"LANG=C.UTF-8", "PATH=/usr/bin:/bin"};
  if (const char* zone = std::getenv("TZ")) environment.push_back(std::string("TZ=") + zone);
  const std::vector<char*> argv = pointers(arguments), envp = pointers(environment);
  const pid_t parent = ::getpid();
  // The signal comes when the thread ends that asks for it, so other threads than the main one do not.
  const bool dies_with_thread = ::syscall(SYS_gettid) == parent;
  pid_ = ::fork();
  if (pid_ == 0) become(options, argv.data(), envp.data(), ends[1], parent, dies_with_thread);
  const int error = errno;
  ::close(ends[1]);
  if (pid_ < 0) {
    ::close(socket_);
    fail("", "cannot start a process: {}", std::strerror(error));
  }
}

ChildProcess::~ChildProcess() {
  end();
  ::close(socket_);
}

int ChildProcess::end() {
  if (pid_ < 0) return status_;
  ::kill(pid_, SIGKILL);
  while (::waitpid(pid_, &status_, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  return status_;
}

ChildProcess::Outcome ChildProcess::wait_for(short events, Clock::time_point deadline) const {
  while (true) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) return Outcome::kTimeout;
    pollfd waits = {socket_, events, 0};
    const int ready = ::poll(&waits, 1, static_cast<int>(std::min<int64_t>(left, 60'000)));
    if (ready > 0) return Outcome::kDone;
    if (ready < 0 && errno != EINTR) return Outcome::kEnded;
  }
}

ChildProcess::Outcome ChildProcess::write(std::string_view bytes, Clock::time_point deadline) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) {
      bytes.remove_prefix(static_cast<size_t>(sent));
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      if (const Outcome outcome = wait_for(POLLOUT, deadline); outcome != Outcome::kDone) return outcome;
    } else if (errno != EINTR) {
      return Outcome::kEnded;
    }
  }
  return Outcome::kDone;
}

ChildProcess::Outcome ChildProcess::read_line(std::string& line, size_t most_bytes, Clock::time_point deadline) {
  size_t searched = 0;
  while (true) {
    const size_t newline = unread_.find('\n', searched);
    if (newline != std::string::npos) {
      line = unread_.substr(0, newline);
      unread_.erase(0, newline + 1);
      return Outcome::kDone;
    }
    searched = unread_.size();
    if (searched > most_bytes) return Outcome::kTooLong;
    if (const Outcome outcome = wait_for(POLLIN, deadline); outcome != Outcome::kDone) return outcome;
    char bytes[65536];
    const ssize_t count = ::recv(socket_, bytes, sizeof bytes, MSG_DONTWAIT);
    if (count > 0)
      unread_.append(bytes, static_cast<size_t>(count));
    else if (count == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR))
      return Outcome::kEnded;
  }
}

std::string confinement_filter() {
  if (kArchitecture == 0) return {};
  static constexpr int kAllowed[] = {
      SYS_read,         SYS_write,          SYS_brk,         SYS_mmap,       SYS_munmap,          SYS_mremap,
      SYS_madvise,      SYS_mprotect,       SYS_futex,       SYS_exit,       SYS_exit_group,      SYS_rt_sigreturn,
      SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_sigaltstack, SYS_getrandom,  SYS_restart_syscall, SYS_clock_gettime,
      SYS_gettimeofday, SYS_getrusage,      SYS_fstat,       SYS_sched_yield};
  constexpr auto load = [](size_t offset) {
    return sock_filter{BPF_LD | BPF_W | BPF_ABS, 0, 0, static_cast<uint32_t>(offset)};
  };
  constexpr auto answer = [](uint32_t action) { return sock_filter{BPF_RET | BPF_K, 0, 0, action}; };
  // Goes on behind the next instruction unless the loaded word is `value`.
  constexpr auto if_equal = [](uint32_t value) { return sock_filter{BPF_JMP | BPF_JEQ | BPF_K, 0, 1, value}; };
  constexpr uint32_t kRefuse = SECCOMP_RET_ERRNO | EPERM;

  std::vector<sock_filter> filter = {load(offsetof(seccomp_data, arch)),
                                     {BPF_JMP | BPF_JEQ | BPF_K, 1, 0, kArchitecture},
                                     answer(kRefuse),
                                     load(offsetof(seccomp_data, nr))};
  for (const int call : kAllowed) {
    filter.push_back(if_equal(static_cast<uint32_t>(call)));
    filter.push_back(answer(SECCOMP_RET_ALLOW));
  }
  // Limits, but only its own: the process's number is 0.
  filter.push_back({BPF_JMP | BPF_JEQ | BPF_K, 1, 0, static_cast<uint32_t>(SYS_prlimit64)});
  filter.push_back(answer(kRefuse));
  filter.push_back(load(offsetof(seccomp_data, args)));
  filter.push_back(if_equal(0));
  filter.push_back(answer(SECCOMP_RET_ALLOW));
  filter.push_back(answer(kRefuse));
  return {reinterpret_cast<const char*>(filter.data()), filter.size() * sizeof(sock_filter)};
}

}  // namespace steelyard
