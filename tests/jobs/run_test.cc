// The job run: pieces of text as they come, how an answer ends, a dialogue through a callback.
#include "jobs/run.h"

#include <gmock/gmock.h>

#include <stdexcept>

#include "base/atomic_file.h"
#include "base/error.h"
#include "error_of.h"
#include "support.h"

namespace steelyard::jobs {
namespace {

using testing::HasSubstr;

class RunJob : public testing::Test {
 protected:
  RunJob() {
    options_.model.model = std::string(STEELYARD_SOURCE_DIR) + "/tests/models/glm-flash-tiny-bf16.gguf";
    options_.prompt = "The king";
    options_.n_predict = 12;
    options_.sampling.temperature = 0;
  }

  // A dialogue that says these lines.
  static ReadLine lines(std::vector<std::string> said) {
    return [said = std::move(said), next = size_t{0}]() mutable {
      return next < said.size() ? std::optional(said[next++]) : std::nullopt;
    };
  }

  std::string failure(const ReadLine& read_line = {}) const {
    return test::error_of([&] { run(options_, {}, read_line); });
  }

  RunOptions options_;
};

TEST_F(RunJob, PiecesMakeTheText) {
  std::string prompt, text, ending;
  const RunResult result = run(options_, [&](const Progress& progress) {
    if (progress.stage == "prompt") prompt = progress.data.get<std::string>();
    if (progress.stage == "text") text += progress.data.get<std::string>();
    if (progress.stage == "ending") ending = progress.data.at("finish_reason").get<std::string>();
  });
  EXPECT_EQ(prompt, "The king");
  EXPECT_FALSE(text.empty());
  EXPECT_EQ(text, result.text);
  EXPECT_EQ(ending, "tokens");
  EXPECT_EQ(result.finish_reason, "tokens");
  EXPECT_EQ(result.generation.tokens, 12);
  EXPECT_GT(result.prompt.tokens, 0);
  EXPECT_EQ(result.context, result.prompt.tokens + 12);
}

TEST_F(RunJob, Endings) {
  const std::string text = run(options_).text;
  options_.stop = {text.substr(3, 4)};
  const RunResult stopped = run(options_);
  EXPECT_EQ(stopped.finish_reason, "stop");
  EXPECT_EQ(stopped.text, text.substr(0, text.find(options_.stop[0])));
  options_.stop.clear();
  options_.ctx_size = 8;
  options_.n_predict = INT64_MAX;
  const RunResult full = run(options_);
  EXPECT_EQ(full.finish_reason, "context");
  EXPECT_EQ(full.context, 8);
}

TEST_F(RunJob, PromptFromAFile) {
  const std::string text = run(options_).text;
  const test::TempFolder folder;
  options_.file = folder / "prompt";
  options_.prompt = "";
  write_file(options_.file, "The king\n");
  EXPECT_EQ(run(options_).text, text);
}

TEST_F(RunJob, DialogueKnowsWhatWasSaid) {
  options_.prompt = "";
  const std::string king = run(options_, {}, lines({"The king"})).text;
  EXPECT_TRUE(king.ends_with('\n'));
  const std::string both = run(options_, {}, lines({"The king", "The queen"})).text;
  EXPECT_TRUE(both.starts_with(king));
  EXPECT_NE(both.substr(king.size()), run(options_, {}, lines({"The queen"})).text);
  const RunResult none = run(options_, {}, lines({}));
  EXPECT_EQ(none.text + none.finish_reason, "");
  options_.ctx_size = 20;
  EXPECT_THAT(failure(lines(std::vector<std::string>(20, "The king"))), HasSubstr("the context of 20 tokens is full"));
}

TEST_F(RunJob, ACallbackMayEndIt) {
  int pieces = 0;
  const auto interrupt = [&](const Progress& progress) {
    if (progress.stage == "text" && ++pieces == 3) throw std::runtime_error("enough");
  };
  EXPECT_THROW(run(options_, interrupt), std::runtime_error);
  EXPECT_EQ(pieces, 3);
}

TEST_F(RunJob, OptionsAreJson) {
  options_.stop = {"a", "b"};
  options_.seed = 7;
  RunOptions read;
  EXPECT_EQ(read.model.precision, "fast");
  read_json(to_json(options_), read, "options");
  EXPECT_EQ(to_json(read), to_json(options_));
  EXPECT_EQ(read.seed, 7);
  EXPECT_THROW(read_json({{"temperature", 1}}, read, "options"), Error);
  EXPECT_THROW(read_json({{"seed", 0.5}}, read, "options"), Error);
}

TEST_F(RunJob, Refuses) {
  const RunOptions good = options_;
  const auto expect = [&](const char* reason, const auto& change) {
    options_ = good;
    change(options_);
    EXPECT_THAT(failure(), HasSubstr(reason));
  };
  expect("-n must be at least 1", [](auto& options) { options.n_predict = 0; });
  expect("-c must be at least 1", [](auto& options) { options.ctx_size = -1; });
  expect("-b must be at least 1", [](auto& options) { options.batch_size = 0; });
  expect("temperature is -1", [](auto& options) { options.sampling.temperature = -1; });
  expect("exceeds the model's", [](auto& options) { options.ctx_size = 1000000000; });
  expect("fills the context of 1", [](auto& options) { options.ctx_size = 1; });
  expect("the prompt is empty", [](auto& options) { options.prompt = ""; });
  expect("absent", [](auto& options) { options.file = "absent"; });
}

TEST_F(RunJob, WithoutALimitUntilTheContextIsFull) {
  options_.n_predict = -1;
  options_.ctx_size = 40;
  const RunResult result = run(options_);
  EXPECT_EQ(result.finish_reason, "context");
  EXPECT_EQ(result.prompt.tokens + result.generation.tokens, 40);
  options_.n_predict = -2;
  EXPECT_THAT(failure(), HasSubstr("-n must be at least 1, or -1"));
}

TEST_F(RunJob, ARandomSeedIsInTheResult) {
  options_.sampling.temperature = 2;
  options_.seed = -1;
  int64_t said = -1;
  const RunResult result = run(options_, [&](const Progress& progress) {
    if (progress.stage == "seed") said = progress.data.at("seed").get<int64_t>();
  });
  EXPECT_EQ(said, result.seed);
  EXPECT_NE(run(options_).seed, result.seed);
  options_.seed = result.seed;
  EXPECT_EQ(run(options_).text, result.text);
}

}  // namespace
}  // namespace steelyard::jobs
