// What the program does when the system interrupts it. Called at the beginning of main; a library leaves signals to its
// program.
#pragma once

#include <csignal>

namespace steelyard {

/// - SIGINT, SIGTERM and SIGHUP remove temporary files (temporary_file.h), then end the process as they always do.
/// - SIGBUS, which comes when a mapped file shrinks or its disk fails, does so with one line that names the file.
/// - A file that grows beyond the limit (RLIMIT_FSIZE) is an error of the write, not a signal.
void handle_signals();

/// While it lives, Ctrl-C (SIGINT) is a question that the program asks, and ends nothing. One at a time.
class InterruptNotice {
 public:
  InterruptNotice();
  InterruptNotice(const InterruptNotice&) = delete;
  InterruptNotice& operator=(const InterruptNotice&) = delete;
  ~InterruptNotice();
  /// Whether there was one since it was made, or since this was asked last.
  static bool interrupted();

 private:
  struct sigaction before_;
};

/// From now on the first SIGINT or SIGTERM ends nothing: finish_requested() is true instead. The second one ends the
/// process as above.
void finish_on_signals();
bool finish_requested();

/// SIGTERM calls `say` before the process ends: what signal handlers may do only.
void set_last_words(void (*say)());

/// Opens /dev/null as standard input, output and error where they are closed. Otherwise a file that is opened later
/// would get their number, and receive what is printed.
void open_standard_streams();

/// What is printed from now on is not shown.
void hide_output();

}  // namespace steelyard
