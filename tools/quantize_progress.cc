#include "quantize_progress.h"

#include <fmt/format.h>

#include <cstdio>

#include "base/error.h"
#include "command.h"

namespace steelyard::tools {
namespace {

constexpr auto kRewriteInterval = std::chrono::milliseconds(200);
constexpr auto kLineInterval = std::chrono::seconds(10);

std::string clock_time(double seconds) {
  const auto whole = static_cast<int64_t>(seconds + 0.5);
  return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

// "12.5 %, 8.31 Mweights/s, 0:41:07 left"
std::string state(const QuantizeProgress& progress, double seconds) {
  const double share =
      progress.total > 0 ? 100.0 * static_cast<double>(progress.done) / static_cast<double>(progress.total) : 100;
  const auto worked = static_cast<double>(progress.done - progress.resumed);
  if (worked == 0 || seconds == 0) return fmt::format("{:.1f} %", share);
  const double rate = worked / seconds;
  return fmt::format("{:.1f} %, {:.4g} Mweights/s, {} left", share, rate / 1e6,
                     clock_time(static_cast<double>(progress.total - progress.done) / rate));
}

}  // namespace

ProgressReport::ProgressReport() : rewrites_(interactive()), begin_(Clock::now()), next_(begin_) {
  if (!rewrites_) next_ += kLineInterval;
}

ProgressReport::~ProgressReport() {
  if (rewrites_) fmt::print(stderr, "\r\x1b[K");
}

void ProgressReport::show(const QuantizeProgress& progress) {
  const auto now = Clock::now();
  if (progress.info == nullptr || now < next_) return;
  next_ = now + (rewrites_ ? Clock::duration(kRewriteInterval) : Clock::duration(kLineInterval));
  const std::string line =
      fmt::format("[{}/{}] {}: {}", progress.tensor + 1, progress.n_tensors, printable(progress.info->name, 64),
                  state(progress, std::chrono::duration<double>(now - begin_).count()));
  if (rewrites_) {
    fmt::print(stderr, "\r\x1b[K{}", line);
    std::fflush(stderr);
  } else {
    fmt::print("{}\n", line);
    std::fflush(stdout);
  }
}

}  // namespace steelyard::tools
