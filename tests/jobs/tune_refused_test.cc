// What tuning refuses, what it leaves behind when it is stopped, and that it goes on from there.
#include <cmath>
#include <stdexcept>

#include "jobs/tune_fixture.h"

namespace steelyard::jobs {
namespace {

using testing::HasSubstr;

class TuneRefused : public TuneTest {};

TEST_F(TuneRefused, ACallbackThatThrowsEndsIt) {
  for (const std::string stage : {"teacher", "tuning", "tune"}) {
    const auto stop = [&](const Progress& at) {
      if (at.stage == stage) throw std::runtime_error("stop");
    };
    EXPECT_THROW(tune(options_, stop), std::runtime_error);
    EXPECT_EQ(names(), (std::set<std::string>{"q.gguf"})) << stage;
  }
}

// With a file for progress, what was done is not done again.
TEST_F(TuneRefused, GoesOn) {
  tune(options_);
  const std::string whole = test::read_text(options_.output);
  std::filesystem::remove(options_.output);
  options_.resume = {.resume = folder_ / "progress", .save_every = 0};
  const auto stop = [](const Progress& at) {
    if (at.stage == "tune" && at.done == 5) throw std::runtime_error("stop");
  };
  EXPECT_THROW(tune(options_, stop), std::runtime_error);
  EXPECT_EQ(names(), (std::set<std::string>{"q.gguf", "progress", "progress.teacher"}));
  // Another run does not take it.
  expect_refused([](TuneOptions& options) { options.tuning.rate_scales = 0.1; },
                 "another model, text, teacher, options");
  int n_teacher = 0;
  const TuneResult result = tune(options_, [&](const Progress& at) { n_teacher += at.stage == "teacher"; });
  EXPECT_EQ(n_teacher, 0);
  EXPECT_EQ(result.resumed_steps, 5);
  EXPECT_EQ(result.comparisons.size(), 3u);
  EXPECT_TRUE(test::read_text(options_.output) == whole);
  EXPECT_EQ(names(), (std::set<std::string>{"q.gguf", "out.gguf"}));
}

// What would stop it after the teacher's work, or its own, is said before.
TEST_F(TuneRefused, RefusesBeforeTheWork) {
  const auto refused = [&](const std::function<void(TuneOptions&)>& change, const std::string& words) {
    TuneOptions options = options_;
    change(options);
    EXPECT_THAT(test::error_of([&] {
                  tune(options, [&](const Progress& at) { ADD_FAILURE() << words << " after stage " << at.stage; });
                }),
                HasSubstr(words));
  };
  refused([](TuneOptions& options) { options.teacher = glm_; }, "another vocabulary");
  refused([](TuneOptions& options) { options.memory = 1000; }, "may be used");
  refused([](TuneOptions& options) { options.text = {.file = "self", .ctx_size = 1024, .chunks = 4}; }, "exceeds");
  refused([](TuneOptions& options) { options.time = -1; }, "--time");
  refused([](TuneOptions& options) { options.backend = "abacus"; }, "abacus");
  // The teacher's distributions would take the place of the teacher.
  std::filesystem::copy_file(llama_, folder_ / "progress.teacher");
  refused(
      [&](TuneOptions& options) {
        options.teacher = folder_ / "progress.teacher";
        options.resume.resume = folder_ / "progress";
      },
      "is also the input");
  EXPECT_EQ(names(), (std::set<std::string>{"q.gguf", "progress.teacher"}));
  EXPECT_TRUE(test::read_text(folder_ / "progress.teacher") == test::read_text(llama_));
}

TEST_F(TuneRefused, RefusesInOneLine) {
  expect_refused([](TuneOptions& options) { options.text.file = ""; }, "no text given");
  expect_refused([](TuneOptions& options) { options.text.ppl_stride = 8; }, "--ppl-stride");
  expect_refused([](TuneOptions& options) { options.text.chunks = 0, options.text.from_chunk = -1; }, "found -1");
  expect_refused([](TuneOptions& options) { options.output = ""; }, "--output");
  expect_refused([](TuneOptions& options) { options.output = "/nowhere/out.gguf"; }, "/nowhere");
  expect_refused([](TuneOptions& options) { options.teacher = "/nowhere.gguf"; }, "/nowhere.gguf");
  expect_refused([](TuneOptions& options) { options.teacher = "", options.kl_divergence_base = options.model; },
                 "not a file of base log-probabilities");
  expect_refused([](TuneOptions& options) { options.resume.resume = options.output; }, "is also the output");
  expect_refused([](TuneOptions& options) { options.resume.resume = options.model; }, "is also the input");
  expect_refused([](TuneOptions& options) { options.tuning.step_chunks = 0; }, "--step-chunks");
  expect_refused([](TuneOptions& options) { options.tuning.held_out = 0; }, "--held-out");
  expect_refused([](TuneOptions& options) { options.tuning.compare_every = 0; }, "--compare-every");
  expect_refused([](TuneOptions& options) { options.tuning.tune_seed = -2; }, "--tune-seed");
  expect_refused([](TuneOptions& options) { options.tuning.rate_routers = INFINITY; }, "--rate-routers");
  expect_refused([](TuneOptions& options) { options.tuning.rate_vectors = std::nan(""); }, "--rate-vectors");
  expect_refused([](TuneOptions& options) { options.tuning.rate_vectors = options.tuning.rate_scales = 0; },
                 "nothing to tune");
  expect_refused([](TuneOptions& options) { options.teacher = ""; }, "--teacher");
  expect_refused([](TuneOptions& options) { options.kl_divergence_base = "x"; }, "give one of");
  expect_refused([](TuneOptions& options) { options.text.chunks = 1; }, "at least 2 chunks");
  expect_refused([](TuneOptions& options) { options.output = options.model; }, "is also the input");
  expect_refused([](TuneOptions& options) { options.output = options.teacher; }, "is also the input");
  expect_refused([](TuneOptions& options) { options.teacher = glm_; }, "vocabulary");
  expect_refused([](TuneOptions& options) { options.text.ctx_size = 1024; }, "exceeds");
  expect_refused([](TuneOptions& options) { options.tuning.rate_scales = -1; }, "--rate-scales");
  expect_refused([](TuneOptions& options) { options.tuning.steps = 0; }, "--steps");
  expect_refused([](TuneOptions& options) { options.memory = 1000; }, "may be used");
  expect_refused(
      [](TuneOptions& options) { options.model = options.teacher = test::golden("models/qwen3next/model.gguf"); },
      "gated delta net");
}

}  // namespace
}  // namespace steelyard::jobs
