// The share of tasks with several answers that a model gets right: HellaSwag, Winogrande, multiple choice.
//
// Progress: "tasks", first with nothing done, then with data TaskScore after each.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "jobs/model_options.h"
#include "jobs/progress.h"

namespace steelyard::jobs {

struct ChoiceOptions {
  ModelOptions model;
  std::string kind;           ///< hellaswag, winogrande or multiple-choice: what the file is
  std::string file;           ///< of tasks (docs/perplexity.md)
  int64_t tasks = 0;          ///< at most so many, of more a choice that is always the same; 0: all
  int64_t ctx_size = 512;     ///< tokens that an answer may have with what goes before it
  int64_t batch_size = 2048;  ///< tokens per batch: several answers

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit.group(self.model);
    visit("kind", self.kind);
    visit("file", self.file);
    visit("tasks", self.tasks);
    visit("ctx_size", self.ctx_size);
    visit("batch_size", self.batch_size);
  }
};

struct TaskScore {
  int64_t chosen = 0;  ///< the most likely answer
  bool correct = false;
  std::vector<double> log_likelihoods;  ///< mean per token, of each answer

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("chosen", self.chosen);
    visit("correct", self.correct);
    visit("log_likelihoods", self.log_likelihoods);
  }
};

struct ChoiceResult {
  std::string model;
  std::string tasks;  ///< their file
  int64_t n_tasks = 0;
  double score = 0;  ///< share of the tasks
  double standard_error = 0;
  std::vector<double> interval;  ///< of 95 %: its two ends
  double chance = 0;             ///< the score of guesses
  std::vector<TaskScore> results;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("model", self.model);
    visit("tasks", self.tasks);
    visit("n_tasks", self.n_tasks);
    visit("score", self.score);
    visit("standard_error", self.standard_error);
    visit("interval", self.interval);
    visit("chance", self.chance);
    visit("results", self.results);
  }
};

/// Error for an unknown kind, a file that is not of it, a task that is too long, and numbers that are not finite.
ChoiceResult choice(const ChoiceOptions& options, const ProgressCallback& progress = {});

}  // namespace steelyard::jobs
