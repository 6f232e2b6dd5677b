// Importance as a job: what a collection reports, conversion, interruption by the callback, and what is refused.
#include "jobs/imatrix.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "base/error.h"
#include "error_of.h"
#include "imatrix/imatrix.h"
#include "support.h"

namespace steelyard::jobs {
namespace {

using testing::HasSubstr;

class ImatrixJob : public testing::Test {
 protected:
  ImatrixOptions collect(const std::string& name) const {
    ImatrixOptions options;
    options.model.model = test::golden("models/deepseek2/model.gguf");
    options.text = {.file = test::golden("imatrix/text.txt"), .ctx_size = 64, .chunks = 8};
    options.output_file = folder_ / name;
    return options;
  }
  static std::string error_of(const ImatrixOptions& options) {
    return test::error_of([&] { imatrix(options); });
  }
  int n_files() const { return static_cast<int>(std::distance(std::filesystem::directory_iterator(folder_ / ""), {})); }

  const test::TempFolder folder_;
};

TEST_F(ImatrixJob, ReportsWhatItCollected) {
  const ImatrixResult result = imatrix(collect("a.gguf"));
  ASSERT_TRUE(result.collected);
  EXPECT_EQ(result.collected->n_chunks, 8);
  EXPECT_EQ(result.collected->n_passed, 8);
  EXPECT_EQ(result.collected->n_tokens, 8 * 64);
  EXPECT_EQ(result.collected->order, "token");
  EXPECT_GT(result.collected->seconds, 0);
  EXPECT_TRUE(result.collected->broken.empty());
  ASSERT_FALSE(result.collected->coverage.empty());
  for (const BlockCoverage& block : result.collected->coverage) {
    EXPECT_GT(block.n_expert, 1);
    EXPECT_LE(block.least, block.median);
    EXPECT_LE(block.unseen, block.below);
  }
  const imatrix::Imatrix written = imatrix::Imatrix::load(folder_ / "a.gguf");
  EXPECT_EQ(result.n_entries, static_cast<int64_t>(written.entries.size()));
  EXPECT_EQ(written.chunk_count, 8);
  ImatrixResult read;
  read_json(Json::parse(to_json(result).dump()), read, "test");
  EXPECT_EQ(to_json(read), to_json(result));
}

TEST_F(ImatrixJob, ProgressCountsTheLayers) {
  ImatrixOptions options = collect("a.gguf");
  options.sweep.order = "layer";
  int starts = 0;
  int64_t last = 0, total = 0;
  imatrix(options, [&](const Progress& progress) {
    if (progress.stage == "start") {
      ImatrixResult known;
      read_json(progress.data, known, "test");
      EXPECT_EQ(known.collected->order, "layer");
      EXPECT_EQ(known.collected->n_chunks, 8);
      EXPECT_EQ(last, 0);
      ++starts;
      return;
    }
    EXPECT_EQ(progress.stage, "collect");
    EXPECT_EQ(progress.unit, "layers");
    EXPECT_EQ(progress.item, "chunks 1 to 8");
    EXPECT_GT(progress.done, last);
    last = progress.done;
    total = progress.total;
  });
  EXPECT_EQ(starts, 1);
  EXPECT_GT(total, 0);
  EXPECT_EQ(last, total);
}

struct Interrupted {};

TEST_F(ImatrixJob, ACallbackThatThrowsLeavesWhatCanBeTakenUp) {
  imatrix(collect("whole.gguf"));
  const auto stop = [](const Progress& progress) {
    if (progress.stage == "collect") throw Interrupted();
  };
  ImatrixOptions options = collect("a.gguf");
  options.sweep.order = "layer";
  EXPECT_THROW(imatrix(options, stop), Interrupted);
  EXPECT_EQ(n_files(), 1);
  options.resume = {.resume = folder_ / "progress", .save_every = 0};
  int steps = 0;
  EXPECT_THROW(imatrix(options,
                       [&](const Progress& progress) {
                         if (progress.stage == "collect" && ++steps == 2) throw Interrupted();
                       }),
               Interrupted);
  const ImatrixResult result = imatrix(options);
  EXPECT_GT(result.collected->resumed_layers, 0);
  EXPECT_EQ(test::read_text(folder_ / "a.gguf"), test::read_text(folder_ / "whole.gguf"));
}

TEST_F(ImatrixJob, ConvertsAndMerges) {
  const std::string original = test::golden("imatrix/deepseek2/imatrix.gguf");
  ImatrixOptions options;
  options.in_file = {original, original};
  options.output_file = folder_ / "twice.dat";
  const ImatrixResult result = imatrix(options);
  EXPECT_FALSE(result.collected);
  EXPECT_EQ(imatrix::Imatrix::load(options.output_file).chunk_count, 2 * imatrix::Imatrix::load(original).chunk_count);
}

TEST_F(ImatrixJob, CostsAreKnownFromTheHeader) {
  ImatrixOptions options = collect("a.gguf");
  options.dry_run = true;
  options.sweep.order = "layer";
  const ImatrixResult result = imatrix(options);
  ASSERT_TRUE(result.costs);
  EXPECT_EQ(result.costs->n_tokens, 8 * 64);
  EXPECT_EQ(result.costs->order, "layer");
  EXPECT_GT(result.costs->weights, result.costs->weights_at_a_time);
  EXPECT_GT(result.costs->flop_per_token, 0);
  EXPECT_EQ(n_files(), 0);
  options.text.chunks = 0;
  EXPECT_THAT(error_of(options), HasSubstr("--dry-run needs --chunks"));
}

TEST_F(ImatrixJob, RefusesOptionsThatMakeNoSense) {
  ImatrixOptions options = collect("");
  options.output_file = "";
  EXPECT_THAT(error_of(options), HasSubstr("--output-file is required"));
  options = collect("a.gguf");
  options.output_file = options.text.file;
  EXPECT_THAT(error_of(options), HasSubstr("is also the input"));
  options = collect("a.gguf");
  options.text.ppl_stride = 32;
  EXPECT_THAT(error_of(options), HasSubstr("--ppl-stride"));
  options = collect("a.gguf");
  options.min_expert_tokens = -1;
  EXPECT_THAT(error_of(options), HasSubstr("--min-expert-tokens"));
  options = collect("a.gguf");
  options.model.model = "";
  EXPECT_THAT(error_of(options), HasSubstr("no model given: -m MODEL"));
  options = collect("a.gguf");
  options.sweep.order = "sideways";
  EXPECT_THAT(error_of(options), HasSubstr("--order"));
  options = {};
  options.output_file = folder_ / "a.gguf";
  EXPECT_THAT(error_of(options), HasSubstr("give -m MODEL -f TEXT"));
  EXPECT_EQ(n_files(), 0);
}

}  // namespace
}  // namespace steelyard::jobs
