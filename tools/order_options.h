// --memory and --order: how a text goes through a model. For the commands that sweep (schedule/sweep_plan.h).
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>

#include "schedule/sweep_plan.h"

namespace steelyard::tools {

class OrderOptions {
 public:
  void add_to(CLI::App& command);

  /// result_bytes: what the command keeps in memory until its end. Scratch files are created beside `output`.
  SweepOptions sweep(const gguf::Reader& reader, const ModelConfig& config, uint64_t result_bytes, int64_t n_ctx,
                     const std::string& output) const;
  SweepPlan plan(const gguf::Reader& reader, const ModelConfig& config, uint64_t result_bytes, int64_t n_ctx) const;

  /// Error when it is below 1.
  int64_t n_batch() const;

 private:
  uint64_t memory_ = 0;
  std::string order_;
  int64_t n_batch_ = 2048;
};

}  // namespace steelyard::tools
