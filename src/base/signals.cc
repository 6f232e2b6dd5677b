#include "base/signals.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstring>

#include "base/mapped_file.h"
#include "base/temporary_file.h"

namespace steelyard {
namespace {

void say(const char* text) { [[maybe_unused]] const ssize_t ignored = ::write(STDERR_FILENO, text, std::strlen(text)); }

std::atomic<void (*)()> last_words = nullptr;

void interrupted(int signal) {
  remove_temporary_files();
  if (const auto say = last_words.load(); say != nullptr && signal == SIGTERM) say();
  std::raise(signal);  // SA_RESETHAND: now the default, which ends the process
}

volatile std::sig_atomic_t finishing = 0;

void handle(int signal, int flags, void (*simple)(int), void (*detailed)(int, siginfo_t*, void*));

void finish(int) {
  finishing = 1;
  for (const int signal : {SIGINT, SIGTERM}) handle(signal, 0, interrupted, nullptr);
}

void cannot_read(int signal, siginfo_t* info, void*) {
  const char* const path = mapped_path_at(info->si_addr);
  if (path == nullptr) {  // memory that is no file's: a bug, or the machine
    std::raise(signal);
    return;
  }
  remove_temporary_files();
  say("steelyard: ");
  say(path);
  say(": cannot be read any more: it became shorter, or its disk failed\n");
  ::_exit(1);
}

void handle(int signal, int flags, void (*simple)(int), void (*detailed)(int, siginfo_t*, void*)) {
  struct sigaction before {};
  // What whoever started the program has switched off stays so: nohup, a shell's background jobs.
  if (::sigaction(signal, nullptr, &before) == 0 && before.sa_handler == SIG_IGN) return;
  struct sigaction action {};
  action.sa_flags = flags | SA_RESETHAND | SA_NODEFER;
  if (detailed != nullptr)
    action.sa_sigaction = detailed;
  else
    action.sa_handler = simple;
  ::sigaction(signal, &action, nullptr);
}

volatile std::sig_atomic_t g_interrupts = 0;
void notice_interrupt(int) { g_interrupts = 1; }

}  // namespace

InterruptNotice::InterruptNotice() : before_{} {
  g_interrupts = 0;
  struct sigaction action {};
  action.sa_handler = notice_interrupt;
  action.sa_flags = SA_RESTART;
  ::sigaction(SIGINT, &action, &before_);
}
InterruptNotice::~InterruptNotice() { ::sigaction(SIGINT, &before_, nullptr); }
bool InterruptNotice::interrupted() {
  const bool was = g_interrupts != 0;
  g_interrupts = 0;
  return was;
}

void handle_signals() {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) handle(signal, 0, interrupted, nullptr);
  handle(SIGBUS, SA_SIGINFO, nullptr, cannot_read);
  std::signal(SIGXFSZ, SIG_IGN);
}

void finish_on_signals() {
  for (const int signal : {SIGINT, SIGTERM}) handle(signal, 0, finish, nullptr);
}

bool finish_requested() { return finishing != 0; }

void set_last_words(void (*say)()) { last_words = say; }

void open_standard_streams() {
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(stream, F_GETFD) != -1) continue;
    // The lowest free number is this one, because those below it are open.
    [[maybe_unused]] const int opened = ::open("/dev/null", stream == STDIN_FILENO ? O_RDONLY : O_WRONLY);
  }
}

void hide_output() {
  const int nowhere = ::open("/dev/null", O_WRONLY);
  if (nowhere < 0) return;
  ::dup2(nowhere, STDOUT_FILENO);
  ::dup2(nowhere, STDERR_FILENO);
  ::close(nowhere);
}

}  // namespace steelyard
