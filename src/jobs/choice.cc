#include "jobs/choice.h"

#include "base/error.h"
#include "base/mapped_file.h"
#include "evaluate/choice.h"
#include "evaluate/statistics.h"

namespace steelyard::jobs {
namespace {

using Load = std::vector<evaluate::ChoiceTask> (*)(const std::string& path, const tokenizer::Tokenizer& tokenizer,
                                                   int64_t max_tasks, int64_t n_ctx);

Load loader(const std::string& kind) {
  if (kind == "hellaswag") return evaluate::load_hellaswag;
  if (kind == "winogrande") return evaluate::load_winogrande;
  if (kind == "multiple-choice") return evaluate::load_multiple_choice;
  fail("", "kind: expected hellaswag, winogrande or multiple-choice, found \"{}\"", printable(kind));
}

}  // namespace

ChoiceResult choice(const ChoiceOptions& options, const ProgressCallback& progress) {
  const Load load = loader(options.kind);
  if (options.file.empty()) fail("", "no task file given: -f FILE");
  if (options.batch_size < 1) fail("", "--batch-size is {}, expected at least 1", options.batch_size);
  const OpenModel open(options.model, options.ctx_size);
  const tokenizer::Tokenizer tokenizer(open.reader().metadata());
  const std::vector<evaluate::ChoiceTask> tasks = load(options.file, tokenizer, options.tasks, options.ctx_size);
  const auto report = [&](Json data, int64_t done) {
    if (progress) progress({"tasks", done, std::ssize(tasks), "tasks", std::move(data)});
  };
  report(nullptr, 0);

  ChoiceResult result;
  result.model = printable(options.model.model, 4096);
  result.tasks = printable(options.file, 4096);
  int64_t n_correct = 0;
  score_choices(open.model(), tasks, options.ctx_size, options.batch_size, [&](const evaluate::ChoiceScore& score) {
    n_correct += score.correct;
    result.chance += 1.0 / static_cast<double>(score.log_likelihoods.size());
    result.results.push_back({score.chosen, score.correct, score.log_likelihoods});
    report(to_json(result.results.back()), std::ssize(result.results));
  });
  check_mapped_files_unchanged();
  result.n_tasks = std::ssize(result.results);
  result.chance /= static_cast<double>(result.n_tasks);
  const evaluate::MeanEstimate share = evaluate::share_estimate(n_correct, result.n_tasks);
  result.score = share.mean;
  result.standard_error = share.standard_error;
  const evaluate::Interval interval = evaluate::wilson_interval(n_correct, result.n_tasks);
  result.interval = {interval.low, interval.high};
  return result;
}

}  // namespace steelyard::jobs
