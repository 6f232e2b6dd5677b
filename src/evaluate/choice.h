// Tasks with several answers, where the model should find the right one the most likely: HellaSwag, Winogrande,
// multiple choice. Files and rules are llama-perplexity's (docs/perplexity.md), so scores compare.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "model/model.h"
#include "tokenizer/tokenizer.h"

namespace steelyard::evaluate {

/// One possible answer in its context. Its score is the mean log-likelihood of tokens [first, end), 1 <= first < end.
struct Candidate {
  std::vector<tokenizer::TokenId> ids;
  int64_t first = 0;
  int64_t end = 0;
  bool correct = false;
};

using ChoiceTask = std::vector<Candidate>;

// ---- files. At most `max_tasks` tasks (all if <= 0); from a larger file always the same random choice. Errors name
// the file, the task and what is wrong; a candidate of more than `n_ctx` tokens is, too.

/// Six lines per task: context, number of the right ending, four endings.
std::vector<ChoiceTask> load_hellaswag(const std::string& path, const tokenizer::Tokenizer& tokenizer,
                                       int64_t max_tasks, int64_t n_ctx = INT64_MAX);
/// A line per task: number, sentence with "_", two words for it, number of the right one; quotes around commas.
std::vector<ChoiceTask> load_winogrande(const std::string& path, const tokenizer::Tokenizer& tokenizer,
                                        int64_t max_tasks, int64_t n_ctx = INT64_MAX);
/// Binary: questions with any number of answers. Questions with several right answers are not used. Error where
/// tasks share bytes.
std::vector<ChoiceTask> load_multiple_choice(const std::string& path, const tokenizer::Tokenizer& tokenizer,
                                             int64_t max_tasks, int64_t n_ctx = INT64_MAX);

// ---- scores

struct ChoiceScore {
  std::vector<double> log_likelihoods;  ///< mean per token, per candidate
  int64_t chosen = 0;                   ///< the most likely candidate, of equals the first
  bool correct = false;
};

/// Scores all tasks, with as many candidates per batch as n_batch tokens hold. Error when one is longer than n_ctx, or
/// a likelihood is not finite. `done` is called with each score in order.
void score_choices(const model::Model& model, const std::vector<ChoiceTask>& tasks, int64_t n_ctx, int64_t n_batch,
                   const std::function<void(const ChoiceScore&)>& done);

}  // namespace steelyard::evaluate
