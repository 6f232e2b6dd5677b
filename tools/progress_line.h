// What a command says while it works, the only way to the standard output beside it, and a dialogue's way in: on a
// terminal a progress line on stderr that is rewritten in place, and taken off before anything else is printed. The two
// streams never share a line: where stdout stands in the middle of one, no progress is shown.
#pragma once

#include <fmt/format.h>

#include <chrono>
#include <optional>
#include <string>
#include <utility>

#include "jobs/progress.h"

namespace steelyard::tools {

/// Takes the progress line off the terminal, then writes to stdout. A terminal gets no control sequences
/// (base/terminal_text.h). Error if writing fails.
void write_out(const std::string& text);
/// From here on a terminal gets every byte as it is.
void write_raw();

/// The same, formatted.
template <typename... Args>
void print_out(fmt::format_string<Args...> format, Args&&... args) {
  write_out(fmt::format(format, std::forward<Args>(args)...));
}

/// The next line of the standard input, without its newline; nothing where it ends. A terminal shows that it is waited
/// for.
std::optional<std::string> read_line();

/// Ends what stands half on the terminal, of either stream: before an error message.
void end_line();

class ProgressLine {
 public:
  /// Where stderr is no terminal.
  enum class Elsewhere {
    kNothing,
    kLines,  ///< a line on stdout every ten seconds, for jobs that take hours
  };

  explicit ProgressLine(Elsewhere elsewhere = Elsewhere::kNothing);
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;
  /// Takes the line off.
  ~ProgressLine();

  /// Shows where a stage is, not more often than it can be read. Stages without a total are not shown.
  void show(const jobs::Progress& progress);

 private:
  using Clock = std::chrono::steady_clock;

  const Elsewhere elsewhere_;
  std::string stage_;  // of the last show()
  int64_t first_ = 0;  // `done` when the stage began: what an earlier run has done takes no time now
  int64_t last_ = 0;   // `done` of the last show()
  Clock::time_point begin_, next_;
};

/// "encode blk.0.ffn_up.weight: 12.5 %, 8.31 Mweights/s, 0:41:07 left", after `seconds` of work since `first` were
/// done.
std::string progress_text(const jobs::Progress& progress, int64_t first, double seconds);

}  // namespace steelyard::tools
