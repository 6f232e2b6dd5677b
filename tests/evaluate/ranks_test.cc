// An evaluation that several ranks share gives the bits of one process: figures, agreement of routers, bases.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "base/error.h"
#include "evaluate/tiny_run.h"
#include "thread_ranks.h"

namespace steelyard::evaluate {
namespace {

struct Interruption {};

class Ranks : public testing::TestWithParam<bool> {
 protected:
  EvaluationOptions options() const {
    EvaluationOptions options;
    options.sweep.keep_layers = GetParam();
    options.sweep.n_batch = 128;  // two chunks
    options.settings = "cpu";
    return options;
  }

  // Each rank has a model of its own.
  EvaluationResult run(
      int n, const EvaluationOptions& options, const std::string& base_path = "",
      const EvaluationProgress& progress = [](auto) {}) const {
    EvaluationResult result;
    test::in_ranks(n, [&](cluster::Ranks& ranks) {
      const TinyRun tiny(test::golden("models/deepseek2/model.gguf"), 7);
      const std::unique_ptr<DivergenceBase> base = base_path.empty() ? nullptr : DivergenceBase::open(base_path);
      EvaluationOptions own = options;
      own.sweep.ranks = &ranks;
      EvaluationResult of_rank = tiny.run(
          own, base.get(), ranks.leads() ? progress : [](auto) {});
      if (ranks.leads()) result = std::move(of_rank);
    });
    return result;
  }

  const test::TempFolder folder_;
};

TEST_P(Ranks, GiveTheSameFiguresAndBases) {
  for (const BaseLayout layout : {BaseLayout::kCompact, BaseLayout::kLlama}) {
    EvaluationOptions how = options();
    how.write_base = true;
    how.layout = layout;
    std::string expected;
    for (const int n : {1, 2, 3, 5}) {
      SCOPED_TRACE(n);
      how.base_path = folder_ / std::to_string(n);
      const EvaluationResult result = run(n, how);
      EXPECT_EQ(result.scores.size(), 7u * 31);
      const std::string base = test::read_text(how.base_path);
      if (n == 1) expected = base;
      EXPECT_TRUE(base == expected);
      EvaluationOptions compare = options();
      compare.base_path = how.base_path;
      const EvaluationResult compared = run(n, compare, how.base_path), alone = run(1, compare, how.base_path);
      expect_same_bits(compared, alone);
      EXPECT_EQ(compared.routers.empty(), layout == BaseLayout::kLlama);
    }
  }
}

TEST_P(Ranks, GoOnWithAnotherNumber) {
  EvaluationOptions how = options();
  const EvaluationResult expected = run(1, how);
  how.progress_path = folder_ / "progress";
  how.save_every = std::chrono::milliseconds(0);
  how.write_base = true;
  how.base_path = folder_ / "base";
  size_t limit = 31 * 2;
  for (const int n : {2, 3, 1}) {
    const auto interrupt = [&](std::span<const TokenScore> scores) {
      if (scores.size() > limit) throw Interruption();
    };
    EXPECT_THROW(run(n, how, "", interrupt), Interruption);
    limit += 31 * 2;
  }
  const EvaluationResult result = run(4, how);
  EXPECT_GT(result.resumed_chunks, 0);
  expect_same_bits(result, expected);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "progress"));
}

TEST_P(Ranks, OfAnotherTextAreRefused) {
  const auto different = [&](cluster::Ranks& ranks) {
    const TinyRun tiny(test::golden("models/deepseek2/model.gguf"), 5 + ranks.rank());
    EvaluationOptions own = options();
    own.sweep.ranks = &ranks;
    tiny.run(own);
  };
  EXPECT_THROW(test::in_ranks(2, different), Error);
}

INSTANTIATE_TEST_SUITE_P(Orders, Ranks, testing::Bool(),
                         [](const auto& tested) { return tested.param ? "ByToken" : "ByLayer"; });

}  // namespace
}  // namespace steelyard::evaluate
