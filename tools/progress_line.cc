#include "progress_line.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iostream>

#include "base/error.h"
#include "base/terminal_text.h"

namespace steelyard::tools {
namespace {

constexpr auto kRewriteInterval = std::chrono::milliseconds(200);
constexpr auto kLineInterval = std::chrono::seconds(10);

bool line_is_shown = false;     // a progress line stands on the terminal
bool output_is_at_line = true;  // nothing or a whole line was written to stdout
bool is_raw = false;            // bytes go to a terminal as they are
TerminalText terminal_text;     // of stdout where it is a terminal

bool is_terminal(int descriptor) { return ::isatty(descriptor) == 1; }

void take_line_off() {
  if (!line_is_shown) return;
  std::fputs("\r\x1b[K", stderr);
  std::fflush(stderr);
  line_is_shown = false;
}

// What fits one row of the terminal: of a longer line only the last row could be taken off.
std::string cut_to_width(std::string text) {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || text.size() < size.ws_col) return text;
  size_t end = size.ws_col - 1u;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;  // not within a character
  return text.substr(0, end);
}

std::string clock_time(double seconds) {
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

// 8310000 as "8.31 M".
std::string with_prefix(double number) {
  constexpr const char* kPrefixes[] = {"", "k", "M", "G", "T"};
  size_t prefix = 0;
  for (; number >= 1000 && prefix + 1 < std::size(kPrefixes); ++prefix) number /= 1000;
  return fmt::format("{:.3g} {}", number, kPrefixes[prefix]);
}

}  // namespace

void write_raw() { is_raw = true; }

std::optional<std::string> read_line() {
  if (is_terminal(STDIN_FILENO)) fmt::print(stderr, "> ");
  std::string line;
  return std::getline(std::cin, line) ? std::optional(line) : std::nullopt;
}

void write_out(const std::string& given) {
  const std::string text = is_raw || !is_terminal(STDOUT_FILENO) ? given : terminal_text.push(given);
  if (text.empty()) return;
  take_line_off();
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) fail("", "cannot write the output");
  output_is_at_line = text.back() == '\n';
}

void end_line() {
  take_line_off();
  const std::string waiting = terminal_text.finish();
  std::fputs(waiting.c_str(), stdout);
  output_is_at_line = output_is_at_line && waiting.empty();
  if (!output_is_at_line && is_terminal(STDOUT_FILENO)) std::fputc('\n', stdout);
  output_is_at_line = true;
  std::fflush(stdout);
}

std::string progress_text(const jobs::Progress& progress, int64_t first, double seconds) {
  std::string text(progress.stage);
  if (!progress.item.empty()) text += " " + progress.item;
  text += fmt::format(": {:.1f} %", 100.0 * static_cast<double>(progress.done) / static_cast<double>(progress.total));
  const auto worked = static_cast<double>(progress.done - first);
  if (worked <= 0 || seconds <= 0) return text;
  const double rate = worked / seconds;
  return text + fmt::format(", {}{}/s, {} left", with_prefix(rate), progress.unit,
                            clock_time(static_cast<double>(progress.total - progress.done) / rate));
}

ProgressLine::ProgressLine(Elsewhere elsewhere) : elsewhere_(elsewhere) {}

ProgressLine::~ProgressLine() { take_line_off(); }

void ProgressLine::show(const jobs::Progress& progress) {
  if (progress.total <= 0) return;
  const bool rewrites = is_terminal(STDERR_FILENO);
  const auto now = Clock::now();
  if (progress.stage != stage_ || progress.done < last_) {
    if (stage_.empty() && !rewrites) next_ = now + kLineInterval;
    stage_ = progress.stage;
    first_ = progress.done;
    begin_ = now;
  }
  last_ = progress.done;
  if (progress.done >= progress.total) return take_line_off();
  if (now < next_) return;
  next_ = now + (rewrites ? Clock::duration(kRewriteInterval) : Clock::duration(kLineInterval));
  const std::string text =
      printable(progress_text(progress, first_, std::chrono::duration<double>(now - begin_).count()), 4096);
  if (rewrites) {
    if (!output_is_at_line && is_terminal(STDOUT_FILENO)) return;
    std::fflush(stdout);
    fmt::print(stderr, "\r\x1b[K{}", cut_to_width(text));
    std::fflush(stderr);
    line_is_shown = true;
  } else if (elsewhere_ == Elsewhere::kLines) {
    write_out(text + "\n");
    std::fflush(stdout);
  }
}

}  // namespace steelyard::tools
