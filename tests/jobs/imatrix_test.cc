// Importance as a job: what a collection reports, conversion, interruption by the callback, and what is refused.
#include "jobs/imatrix.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "base/error.h"
#include "error_of.h"
#include "imatrix/imatrix.h"
#include "jobs/quantize.h"
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

// ---- on a text that the model writes

class ImatrixOnOwnText : public ImatrixJob {
 protected:
  ImatrixOptions own(const std::string& name, const std::string& text = "self") const {
    ImatrixOptions options = collect(name);
    options.text = {.file = text, .ctx_size = 32, .chunks = 4};
    options.model.threads = 2;
    return options;
  }
  // With progress that is saved after every step.
  ImatrixOptions resumed(const std::string& name) const {
    ImatrixOptions options = own(name);
    options.resume = {.resume = folder_ / "progress", .save_every = 0};
    return options;
  }
  std::string content(const std::string& name) const { return test::read_text(folder_ / name); }
  // The sums are the same, whatever the text was called.
  void expect_same_sums(const std::string& a, const std::string& b) const {
    const imatrix::Imatrix first = imatrix::Imatrix::load(folder_ / a), second = imatrix::Imatrix::load(folder_ / b);
    EXPECT_EQ(first.chunk_count, second.chunk_count);
    ASSERT_EQ(first.entries.size(), second.entries.size());
    for (const auto& [name, entry] : first.entries) {
      ASSERT_TRUE(second.entries.contains(name)) << name;
      EXPECT_EQ(entry.in_sum2, second.entries.at(name).in_sum2) << name;
      EXPECT_EQ(entry.counts, second.entries.at(name).counts) << name;
    }
  }
  static ProgressCallback no_writing() {
    return [](const Progress& progress) { EXPECT_NE(progress.stage, "write"); };
  }
  // Whose experts are about equally busy.
  static inline const std::string kEven = test::golden("models/qwen3moe/model.gguf");
  // Ends a run at its nth step of such a stage.
  static void interrupt(const ImatrixOptions& options, std::string_view stage, int step) {
    int steps = 0;
    EXPECT_THROW(imatrix(options,
                         [&](const Progress& progress) {
                           if (progress.stage == stage && ++steps == step) throw Interrupted();
                         }),
                 Interrupted);
  }
};

TEST_F(ImatrixOnOwnText, TheSameBytesForAnyNumberOfThreads) {
  ImatrixOptions options = own("two.gguf");
  options.files.save_text = folder_ / "own.text";
  std::vector<std::string> stages;
  const ImatrixResult result = imatrix(options, [&](const Progress& progress) {
    if (stages.empty() || stages.back() != progress.stage) stages.emplace_back(progress.stage);
  });
  EXPECT_EQ(stages, (std::vector<std::string>{"write", "start", "collect"}));
  EXPECT_EQ(result.collected->n_chunks, 4);
  EXPECT_EQ(result.collected->n_tokens, 4 * 32);
  ASSERT_TRUE(result.collected->writing);
  EXPECT_EQ(result.collected->writing->n_tokens, 4 * 32);
  EXPECT_EQ(imatrix::Imatrix::load(folder_ / "two.gguf").datasets, std::vector<std::string>{"self"});
  ImatrixResult read;
  read_json(Json::parse(to_json(result).dump()), read, "test");
  EXPECT_EQ(to_json(read), to_json(result));

  options = own("one.gguf");
  options.model.threads = 1;
  imatrix(options);
  EXPECT_EQ(content("one.gguf"), content("two.gguf"));
  options = own("other.gguf");
  options.writing.seed = 1;
  imatrix(options);
  EXPECT_NE(content("other.gguf"), content("two.gguf"));
}

TEST_F(ImatrixOnOwnText, TheSavedTextGivesTheSameSums) {
  ImatrixOptions options = own("own.gguf");
  options.files.save_text = folder_ / "own.text";
  imatrix(options);
  const ImatrixResult result = imatrix(own("saved.gguf", folder_ / "own.text"), no_writing());
  EXPECT_FALSE(result.collected->writing);
  EXPECT_EQ(result.collected->n_chunks, 4);
  expect_same_sums("own.gguf", "saved.gguf");
  options = own("later.gguf", folder_ / "own.text");
  options.text.from_chunk = 3;
  EXPECT_EQ(imatrix(options).collected->n_chunks, 1);
}

TEST_F(ImatrixOnOwnText, Mixtures) {
  ImatrixOptions options = own("mixture.gguf", "self:64+" + test::golden("imatrix/text.txt"));
  const ImatrixResult result = imatrix(options);
  EXPECT_EQ(result.collected->n_chunks, 4);
  EXPECT_EQ(result.collected->writing->n_chunks, 2);
  options.text.file = "self+" + test::golden("imatrix/text.txt");
  options.own_share = 0.25;
  EXPECT_EQ(imatrix(options).collected->writing->n_chunks, 1);
}

TEST_F(ImatrixOnOwnText, ASmallerFileOfTheModelMayWrite) {
  QuantizeOptions small;
  small.model = own("").model.model;
  small.output = folder_ / "small.gguf";
  small.threads = 2;
  small.source.type = "Q8_0";
  quantize(small);
  ImatrixOptions options = own("a.gguf");
  options.files.writer = folder_ / "small.gguf";
  EXPECT_EQ(imatrix(options).collected->writing->n_chunks, 4);
  imatrix(own("b.gguf"));
  EXPECT_NE(content("a.gguf"), content("b.gguf"));
}

TEST_F(ImatrixOnOwnText, WritesUntilExpertsHaveSeenEnough) {
  ImatrixOptions options = own("a.gguf");
  options.model.model = kEven;
  options.text.chunks = 2;
  options.files.save_text = folder_ / "own.text";
  ASSERT_LT(imatrix(options).collected->coverage[0].least, 50) << "a round that is enough says nothing";
  options.min_expert_tokens = 50;
  const ImatrixResult result = imatrix(options);
  const CollectedText& text = *result.collected;
  EXPECT_GT(text.n_passed, 2);
  EXPECT_LT(text.n_passed, 32);
  EXPECT_EQ(text.n_passed % 2, 0);
  EXPECT_EQ(text.n_chunks, text.n_passed) << "no more than was needed";
  EXPECT_EQ(text.writing->n_chunks, text.n_passed);
  for (const BlockCoverage& block : text.coverage) EXPECT_GE(block.least, 50) << block.block;
  // It is the text of so many chunks, and all of it is kept.
  ImatrixOptions at_once = own("b.gguf", folder_ / "own.text");
  at_once.model.model = kEven;
  at_once.text.chunks = 0;
  EXPECT_EQ(imatrix(at_once).collected->n_passed, text.n_passed);
  at_once = own("c.gguf");
  at_once.model.model = kEven;
  at_once.text.chunks = text.n_passed;
  imatrix(at_once);
  expect_same_sums("b.gguf", "c.gguf");
}

// Some experts are not reached by anything that a model writes.
TEST_F(ImatrixOnOwnText, WritingForExpertsEnds) {
  ImatrixOptions options = own("a.gguf");
  options.text.chunks = 1;
  options.min_expert_tokens = 1'000'000;
  const ImatrixResult result = imatrix(options);
  EXPECT_EQ(result.collected->n_passed, 16);
  EXPECT_EQ(result.collected->n_chunks, 16);
  EXPECT_GT(result.collected->coverage[0].below, 0);
}

// With a file there is only what it has: --chunks at a time, as ever.
TEST_F(ImatrixOnOwnText, AFileEndsWhereItEnds) {
  ImatrixOptions options = collect("a.gguf");
  options.text.chunks = 2;
  options.min_expert_tokens = 1'000'000;
  const ImatrixResult result = imatrix(options, no_writing());
  EXPECT_GT(result.collected->n_passed, 2);
  EXPECT_EQ(result.collected->n_passed, result.collected->n_chunks);
}

TEST_F(ImatrixOnOwnText, AnInterruptedRunDoesNotWriteAgain) {
  imatrix(own("whole.gguf"));
  ImatrixOptions options = resumed("a.gguf");
  interrupt(options, "write", 4);  // the first says that there are none yet, and the last is not saved
  int64_t first = -1;
  EXPECT_THROW(imatrix(options,
                       [&](const Progress& progress) {
                         if (progress.stage == "write" && first < 0) first = progress.done;
                         if (progress.stage == "collect") throw Interrupted();
                       }),
               Interrupted);
  EXPECT_EQ(first, 2);
  const ImatrixResult result = imatrix(options, no_writing());
  EXPECT_EQ(result.collected->writing->resumed_chunks, 4);
  EXPECT_EQ(content("a.gguf"), content("whole.gguf"));
  EXPECT_EQ(n_files(), 2);
  options.writing.seed = 1;
  interrupt(resumed("b.gguf"), "write", 3);
  EXPECT_THAT(error_of(options), HasSubstr("progress.text: is the progress of a run with another"));
}

// An interruption in each of the rounds, within the writing and within the collection.
TEST_F(ImatrixOnOwnText, AnInterruptionWhileItWritesForExperts) {
  const auto waiting = [](ImatrixOptions options) {
    options.model.model = kEven;
    options.text.chunks = 2;
    options.min_expert_tokens = 50;
    options.sweep.order = "layer";
    return options;
  };
  const ImatrixResult whole = imatrix(waiting(own("whole.gguf")));
  ASSERT_GT(whole.collected->n_passed, 4);
  const ImatrixOptions options = waiting(resumed("a.gguf"));
  for (const char* stage : {"write", "collect"}) {
    for (const int step : {1, 4, 5, 7}) {
      interrupt(options, stage, step);
      const ImatrixResult result = imatrix(options);
      EXPECT_EQ(result.collected->n_passed, whole.collected->n_passed) << stage << step;
      EXPECT_EQ(content("a.gguf"), content("whole.gguf")) << stage << step;
      std::filesystem::remove(options.output_file);
      EXPECT_EQ(n_files(), 1) << stage << step;
    }
  }
}

TEST_F(ImatrixOnOwnText, ADryRunNeedsNoText) {
  ImatrixOptions options = own("a.gguf", "self:64");
  options.dry_run = true;
  options.files.save_text = folder_ / "own.text";
  const ImatrixResult result = imatrix(options, [](const Progress& progress) { ADD_FAILURE() << progress.stage; });
  EXPECT_EQ(result.costs->n_tokens, 4 * 32);
  EXPECT_EQ(n_files(), 0);
}

TEST_F(ImatrixOnOwnText, Refuses) {
  const auto expect = [&](const char* reason, const auto& change) {
    ImatrixOptions options = own("a.gguf");
    change(options);
    EXPECT_THAT(error_of(options), HasSubstr(reason));
  };
  expect("need a text called self", [](auto& options) {
    options.text.file = test::golden("imatrix/text.txt");
    options.writing.temp = 0.5;
  });
  expect("expected self:N", [](auto& options) { options.text.file = "self:all"; });
  for (const int64_t n_ctx : {INT64_MIN, int64_t{-1}, int64_t{0}, int64_t{3}}) {
    expect("a text has at least 4 tokens", [n_ctx](auto& options) {
      options.text.ctx_size = n_ctx;
      options.text.chunks = 0;
    });
  }
  expect("--own-share", [](auto& options) {
    options.text.file = "self+" + test::golden("imatrix/text.txt");
    options.own_share = -1;
  });
  const std::string copy = folder_ / "copy.gguf";  // a test that fails may cost a file, but not a golden
  std::filesystem::copy_file(own("").model.model, copy);
  expect("is also the input", [&](auto& options) { options.model.model = options.files.save_text = copy; });
  std::filesystem::remove(copy);
  expect("--threads", [](auto& options) { options.model.threads = 100'000; });
  expect("--from-chunk", [](auto& options) { options.text.from_chunk = -1; });
  EXPECT_EQ(n_files(), 0);
}

// ---- files

TEST_F(ImatrixJob, MergingFilesOfDifferentModelsWarns) {
  imatrix(collect("a.gguf"));
  imatrix(collect("b.gguf"));
  imatrix::Imatrix other = imatrix::Imatrix::load(folder_ / "b.gguf");
  auto renamed = other.entries.extract("blk.1.ffn_down_exps.weight");
  renamed.key() = "blk.1.ffn_down.weight";
  other.entries.insert(std::move(renamed));
  other.save(folder_ / "other.gguf");
  const auto merged = [&](const std::vector<std::string>& files) {
    ImatrixOptions options;
    for (const std::string& file : files) options.in_file.push_back(folder_ / file);
    options.output_file = folder_ / "merged.gguf";
    return imatrix(options).findings;
  };
  EXPECT_TRUE(merged({"a.gguf", "b.gguf"}).empty());
  const std::vector<PlanFinding> found = merged({"a.gguf", "other.gguf"});
  ASSERT_EQ(found.size(), 2u) << "each lacks what the other has";
  EXPECT_EQ(found[0].severity, "warning");
  EXPECT_THAT(found[0].what, HasSubstr("are both of one model?"));
  // And what is collected now.
  ImatrixOptions added = collect("added.gguf");
  added.in_file = {folder_ / "other.gguf"};
  EXPECT_EQ(imatrix(added).findings.size(), 2u);
}

TEST_F(ImatrixJob, RefusesWhatItWouldIgnore) {
  imatrix(collect("a.gguf"));
  const auto merging = [&](const auto& change) {
    ImatrixOptions options;
    options.in_file = {folder_ / "a.gguf"};
    options.output_file = folder_ / "b.gguf";
    change(options);
    return error_of(options);
  };
  EXPECT_THAT(merging([](auto& options) { options.text.ctx_size = 64; }),
              HasSubstr("--ctx-size: no effect without a text"));
  EXPECT_THAT(merging([](auto& options) { options.model.model = "m.gguf"; }),
              HasSubstr("--model: no effect without a text"));
  EXPECT_THAT(merging([](auto& options) { options.process_output = true; }), HasSubstr("--process-output: no effect"));
  EXPECT_EQ(merging([](auto& options) { options.model.threads = 2; }), "");
  ImatrixOptions options = collect("c.gguf");
  options.own_share = 0.5;
  EXPECT_THAT(error_of(options), HasSubstr("--own-share: no effect with -f "));
  options = collect("c.gguf");
  options.text.file = "self";
  options.text.parse_special = true;
  EXPECT_THAT(error_of(options), HasSubstr("--parse-special: no effect with -f self"));
  options = collect("c.gguf");
  options.resume.save_every = 1;
  EXPECT_THAT(error_of(options), HasSubstr("--save-every: no effect without --resume"));
}

}  // namespace
}  // namespace steelyard::jobs
