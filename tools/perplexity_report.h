// How perplexity's figures are shown on stdout. Labels are those that users of llama-perplexity look for.
#pragma once

#include "jobs/choice.h"
#include "jobs/perplexity.h"
#include "progress_line.h"

namespace steelyard::tools {

/// What comes while the job runs: "[1]12.3456,[2]…" as chunks are finished.
void show(const jobs::Progress& progress, ProgressLine& line);
/// The figures of a text, with its divergence from a base where there is one.
void print_text(const jobs::PerplexityResult& result);
/// The same of the answers in conversations, and tables of roles and positions.
void print_conversations(const jobs::PerplexityResult& result);
void print_sequence(const jobs::PerplexityResult& result);
void print_noise_floor(const jobs::PerplexityResult& result);

/// `name`: of the tasks, for people.
void print(const jobs::ChoiceResult& result, const char* name);

/// A line per task, as they come.
class TaskTable {
 public:
  void show(const jobs::Progress& progress);

 private:
  int64_t n_correct_ = 0;
};

}  // namespace steelyard::tools
