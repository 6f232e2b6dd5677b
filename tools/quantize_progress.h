// The progress of quantize, for people: on a terminal one line that is rewritten, elsewhere a line every ten seconds.
#pragma once

#include <chrono>

#include "quantize/quantize.h"

namespace steelyard::tools {

class ProgressReport {
 public:
  ProgressReport();
  ProgressReport(const ProgressReport&) = delete;
  ProgressReport& operator=(const ProgressReport&) = delete;
  /// Takes the line off the terminal.
  ~ProgressReport();

  void show(const QuantizeProgress& progress);

 private:
  using Clock = std::chrono::steady_clock;

  bool rewrites_;
  Clock::time_point begin_, next_;
};

}  // namespace steelyard::tools
