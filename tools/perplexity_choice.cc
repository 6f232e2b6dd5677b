#include "perplexity_choice.h"

#include <fmt/format.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/atomic_file.h"
#include "base/error.h"
#include "evaluate/choice.h"
#include "evaluate/statistics.h"

namespace steelyard::tools {

void ChoiceOptions::add_to(CLI::App& command) {
  command.add_flag("--hellaswag", hellaswag_, "score HellaSwag tasks: -f FILE with six lines each");
  command.add_option("--hellaswag-tasks", hellaswag_tasks_, "at most this many, 0: all")->capture_default_str();
  command.add_flag("--winogrande", winogrande_, "score Winogrande tasks: -f FILE with comma-separated lines");
  command.add_option("--winogrande-tasks", winogrande_tasks_, "at most this many, 0: all")->capture_default_str();
  command.add_flag("--multiple-choice", multiple_choice_, "score tasks of a binary file: -f FILE");
  command.add_option("--multiple-choice-tasks", multiple_choice_tasks_, "at most this many, 0: all")
      ->capture_default_str();
}

bool ChoiceOptions::wanted() const {
  const int n = int{hellaswag_} + int{winogrande_} + int{multiple_choice_};
  if (n > 1) fail("", "give one of --hellaswag, --winogrande and --multiple-choice");
  return n == 1;
}

void ChoiceOptions::run(const ModelOptions& model, const std::string& path, int64_t n_ctx, int64_t n_batch,
                        const std::string& json) const {
  if (path.empty()) fail("", "a file of tasks is needed: -f FILE");
  const Tokenizer tokenizer(model.reader().metadata());
  const char* name = hellaswag_ ? "HellaSwag" : winogrande_ ? "Winogrande" : "multiple choice";
  const std::vector<ChoiceTask> tasks = hellaswag_    ? load_hellaswag(path, tokenizer, hellaswag_tasks_)
                                        : winogrande_ ? load_winogrande(path, tokenizer, winogrande_tasks_)
                                                      : load_multiple_choice(path, tokenizer, multiple_choice_tasks_);
  fmt::print("{} tasks\ntask  correct %  chosen  mean log-likelihoods\n", tasks.size());
  nlohmann::ordered_json scores = nlohmann::ordered_json::array();
  int64_t n = 0, n_correct = 0;
  double chance = 0;
  score_choices(model.model(), tasks, n_ctx, n_batch, [&](const ChoiceScore& score) {
    chance += 1.0 / static_cast<double>(score.log_likelihoods.size());
    n += 1;
    n_correct += score.correct;
    fmt::print("{:4}  {:9.4f}  {}{}    ", n, 100.0 * static_cast<double>(n_correct) / static_cast<double>(n),
               score.chosen, score.correct ? "+" : "-");
    for (const double value : score.log_likelihoods) fmt::print("  {:10.6f}", value);
    fmt::print("\n");
    std::fflush(stdout);
    scores.push_back(
        {{"chosen", score.chosen}, {"correct", score.correct}, {"log_likelihoods", score.log_likelihoods}});
  });
  const MeanEstimate share = share_estimate(n_correct, n);
  const Interval interval = wilson_interval(n_correct, n);
  chance /= static_cast<double>(n);
  fmt::print("Final {} score({} tasks): {:.4f} +/- {:.4f}, 95 % interval [{:.4f}, {:.4f}], chance {:.4f}\n", name, n,
             100 * share.mean, 100 * share.standard_error, 100 * interval.low, 100 * interval.high, 100 * chance);
  if (json.empty()) return;
  const nlohmann::ordered_json report = {{"model", model.path()},
                                         {"tasks", path},
                                         {"n_tasks", n},
                                         {"score", share.mean},
                                         {"standard_error", share.standard_error},
                                         {"interval", {interval.low, interval.high}},
                                         {"chance", chance},
                                         {"results", scores}};
  write_file(json, report.dump(1) + "\n");
}

}  // namespace steelyard::tools
