// steelyard perplexity --hellaswag, --winogrande, --multiple-choice: the share of tasks that a model gets right.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>

#include "command.h"

namespace steelyard::tools {

class ChoiceOptions {
 public:
  void add_to(CLI::App& command);
  /// Whether one of the three was asked for. Error when several were.
  bool wanted() const;
  /// Scores the tasks of `path`, prints, and writes `json` unless that is empty.
  void run(const ModelOptions& model, const std::string& path, int64_t n_ctx, int64_t n_batch,
           const std::string& json) const;

 private:
  bool hellaswag_ = false, winogrande_ = false, multiple_choice_ = false;
  int64_t hellaswag_tasks_ = 400, winogrande_tasks_ = 0, multiple_choice_tasks_ = 0;
};

}  // namespace steelyard::tools
