// The job choice: scores of tasks, as they come and in the end. The figures are llama-perplexity's, as those in
// tests/cli/perplexity_test.cc.
#include "jobs/choice.h"

#include <gmock/gmock.h>

#include <stdexcept>

#include "base/error.h"
#include "error_of.h"
#include "support.h"

namespace steelyard::jobs {
namespace {

using testing::HasSubstr;

ChoiceOptions hellaswag() {
  ChoiceOptions options;
  options.model.model = test::golden("models/llama/model.gguf");
  options.kind = "hellaswag";
  options.file = test::golden("choice/hellaswag.txt");
  options.ctx_size = 256;
  return options;
}

std::string failure(const ChoiceOptions& options) {
  return test::error_of([&] { choice(options); });
}

TEST(ChoiceJob, ScoresTaskAfterTask) {
  std::vector<TaskScore> seen;
  const ChoiceResult result = choice(hellaswag(), [&](const Progress& progress) {
    EXPECT_EQ(progress.stage, "tasks");
    EXPECT_EQ(progress.total, 14);
    EXPECT_EQ(progress.done, std::ssize(seen) + (progress.data.is_null() ? 0 : 1));
    if (!progress.data.is_null()) read_json(progress.data, seen.emplace_back(), "task");
  });
  EXPECT_EQ(result.n_tasks, 14);
  EXPECT_NEAR(result.score, 0.357142857, 1e-9);
  EXPECT_EQ(result.chance, 0.25);
  ASSERT_EQ(result.interval.size(), 2u);
  EXPECT_NEAR(result.interval[0], 0.163447, 1e-6);
  EXPECT_NEAR(result.interval[1], 0.612356, 1e-6);
  ASSERT_EQ(seen.size(), 14u);
  ASSERT_EQ(result.results.size(), 14u);
  for (size_t i = 0; i < seen.size(); ++i) {
    EXPECT_EQ(to_json(seen[i]), to_json(result.results[i]));
    EXPECT_EQ(seen[i].log_likelihoods.size(), 4u);
  }
  ChoiceResult read;
  read_json(to_json(result), read, "result");
  EXPECT_EQ(to_json(read), to_json(result));
}

TEST(ChoiceJob, KindsAndNumbersOfTasks) {
  ChoiceOptions options = hellaswag();
  options.tasks = 5;
  EXPECT_EQ(choice(options).score, 0.4);
  options.kind = "winogrande";
  options.file = test::golden("choice/winogrande.csv");
  EXPECT_EQ(choice(options).results[0].log_likelihoods.size(), 2u);
  options.kind = "multiple-choice";
  options.file = test::golden("choice/multiple-choice.bin");
  EXPECT_EQ(choice(options).n_tasks, 5);
}

TEST(ChoiceJob, ACallbackMayEndIt) {
  int calls = 0;
  EXPECT_THROW(choice(hellaswag(),
                      [&](const Progress&) {
                        if (++calls == 3) throw std::runtime_error("enough");
                      }),
               std::runtime_error);
  EXPECT_EQ(calls, 3);
}

TEST(ChoiceJob, Refuses) {
  const auto expect = [](const char* reason, const auto& change) {
    ChoiceOptions options = hellaswag();
    change(options);
    EXPECT_THAT(failure(options), HasSubstr(reason));
  };
  expect("expected hellaswag, winogrande or multiple-choice", [](auto& options) { options.kind = "piqa"; });
  expect("no task file given", [](auto& options) { options.file = ""; });
  expect("more than the context of 8", [](auto& options) { options.ctx_size = 8; });
  expect("--batch-size is 0", [](auto& options) { options.batch_size = 0; });
  ChoiceOptions options;
  EXPECT_THROW(read_json({{"task", 3}}, options, "options"), Error);
}

}  // namespace
}  // namespace steelyard::jobs
