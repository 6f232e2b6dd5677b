// A run that is interrupted and goes on ends with the same bits as one that was not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <tuple>
#include <utility>

#include "base/error.h"
#include "evaluate/divergence.h"
#include "evaluate/tiny_run.h"

namespace steelyard::evaluate {
namespace {

struct Interruption {};

class Resume : public testing::TestWithParam<std::tuple<int64_t, bool>> {
 protected:
  EvaluationOptions options() const {
    EvaluationOptions options;
    std::tie(options.sweep.n_batch, options.sweep.keep_layers) = GetParam();
    options.settings = "cpu";
    options.progress_path = folder_ / "progress";
    options.save_every = std::chrono::milliseconds(0);
    return options;
  }

  // Runs until `n_tokens` are scored, then dies.
  void interrupt(const EvaluationOptions& options, const DivergenceBase* base, size_t n_tokens) const {
    EXPECT_THROW(tiny_.run(options, base,
                           [&](std::span<const TokenScore> scores) {
                             if (scores.size() >= n_tokens) throw Interruption();
                           }),
                 Interruption);
  }

  const test::TempFolder folder_;
  const TinyRun tiny_;
};

TEST_P(Resume, BaseOfEitherLayout) {
  for (const BaseLayout layout : {BaseLayout::kCompact, BaseLayout::kLlama}) {
    tiny_.write_base(folder_ / "whole", layout);
    EvaluationOptions how = options();
    how.write_base = true;
    how.layout = layout;
    how.base_path = folder_ / "base";
    interrupt(how, nullptr, 31 * 5);
    EXPECT_TRUE(std::filesystem::exists(folder_ / "progress"));
    EXPECT_FALSE(std::filesystem::exists(folder_ / "base"));
    interrupt(how, nullptr, 31 * 7);  // a second time, further on
    const EvaluationResult result = tiny_.run(how);
    EXPECT_GT(result.resumed_chunks, 0);
    EXPECT_EQ(result.scores.size(), 8u * 31);
    if (how.sweep.n_batch == 256) {
      EXPECT_EQ(test::read_text(folder_ / "base"), test::read_text(folder_ / "whole"));
    }
    EXPECT_FALSE(std::filesystem::exists(folder_ / "progress"));
    EXPECT_FALSE(std::filesystem::exists(folder_ / "base.partial"));
    std::filesystem::remove(folder_ / "base");
  }
}

// Killed after the base has its name, before somebody has the figures.
TEST_P(Resume, WithTheBaseInItsPlace) {
  for (const BaseLayout layout : {BaseLayout::kCompact, BaseLayout::kLlama}) {
    EvaluationOptions how = options();
    how.write_base = true;
    how.layout = layout;
    how.base_path = folder_ / "base";
    EvaluationResult whole = evaluate(tiny_.model, tiny_.identity, tiny_.chunks, nullptr, how, [](auto) {});
    const std::string base = test::read_text(folder_ / "base");
    whole.progress = {};  // given up, not removed
    EXPECT_TRUE(std::filesystem::exists(folder_ / "progress"));
    const EvaluationResult again = tiny_.run(how);
    EXPECT_EQ(again.resumed_chunks, tiny_.chunks.count());
    expect_same_bits(whole, again);
    EXPECT_TRUE(test::read_text(folder_ / "base") == base);
    EXPECT_FALSE(std::filesystem::exists(folder_ / "progress"));
    std::filesystem::remove(folder_ / "base");
  }
}

TEST_P(Resume, OneRunAtATime) {
  EvaluationOptions how = options();
  how.write_base = true;
  how.base_path = folder_ / "base";
  bool tried = false;
  const EvaluationResult whole = tiny_.run(how, nullptr, [&](auto) {
    if (std::exchange(tried, true)) return;
    EXPECT_THROW(tiny_.run(how), Error) << "the progress is held";
    EvaluationOptions other = how;
    other.progress_path = folder_ / "other";
    EXPECT_THROW(tiny_.run(other), Error) << "the base is held";
  });
  EXPECT_TRUE(tried);
  EXPECT_EQ(whole.scores.size(), 8u * 31);
}

TEST_P(Resume, Divergence) {
  tiny_.write_base(folder_ / "base", BaseLayout::kCompact);
  const auto base = DivergenceBase::open(folder_ / "base");
  const TinyRun quantized(test::golden("imatrix/deepseek2/model_Q4_0.gguf"));
  const EvaluationOptions how = options();
  const EvaluationResult whole = quantized.run(how, base.get());
  EXPECT_FALSE(whole.routers.empty());
  EXPECT_THROW(quantized.run(how, base.get(),
                             [](std::span<const TokenScore> scores) {
                               if (scores.size() >= 31 * 5) throw Interruption();
                             }),
               Interruption);
  const EvaluationResult resumed = quantized.run(how, base.get());
  EXPECT_GT(resumed.resumed_chunks, 0);
  expect_same_bits(whole, resumed);
}

// The order is no setting: what one began the other ends, with the same bits.
TEST_P(Resume, InTheOtherOrder) {
  const EvaluationOptions how = options();
  const EvaluationResult whole = tiny_.run(how);
  EvaluationOptions other = how;
  other.sweep.keep_layers = !how.sweep.keep_layers;
  interrupt(how, nullptr, 31 * 5);
  const EvaluationResult resumed = tiny_.run(other);
  EXPECT_GT(resumed.resumed_chunks, 0);
  expect_same_bits(whole, resumed);
}

TEST_P(Resume, OfAnotherRun) {
  EvaluationOptions how = options();
  interrupt(how, nullptr, 31 * 5);
  const std::string progress = test::read_text(how.progress_path);
  const auto expect_refused = [&](const TinyRun& run, const EvaluationOptions& changed) {
    try {
      run.run(changed);
      ADD_FAILURE() << "accepted";
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), testing::HasSubstr("another model, text, base or other settings"));
    }
    EXPECT_EQ(test::read_text(how.progress_path), progress);
  };
  EvaluationOptions changed = how;
  changed.settings = "ref";
  expect_refused(tiny_, changed);
  changed = how;
  changed.sweep.n_batch += 64;
  expect_refused(tiny_, changed);
  expect_refused(TinyRun(test::golden("imatrix/deepseek2/model_Q4_0.gguf")), how);
  expect_refused(TinyRun(test::golden("models/deepseek2/model.gguf"), 7), how);
}

TEST_P(Resume, DamagedProgress) {
  const EvaluationOptions how = options();
  interrupt(how, nullptr, 31 * 5);
  const std::string progress = test::read_text(how.progress_path);
  for (size_t at = 0; at < progress.size(); at += 97) {
    std::string damaged = progress;
    damaged[at] = static_cast<char>(damaged[at] + 1);
    std::ofstream(how.progress_path, std::ios::binary) << damaged;
    EXPECT_THROW(tiny_.run(how), Error) << at;
    if (at == 0) continue;  // an empty file is of a run that has saved nothing yet
    std::ofstream(how.progress_path, std::ios::binary) << progress.substr(0, at);
    EXPECT_THROW(tiny_.run(how), Error) << "cut at " << at;
  }
}

// One chunk per batch, and several; layer-major and token-major.
INSTANTIATE_TEST_SUITE_P(Batches, Resume, testing::Combine(testing::Values(64, 128, 256), testing::Bool()));

}  // namespace
}  // namespace steelyard::evaluate
