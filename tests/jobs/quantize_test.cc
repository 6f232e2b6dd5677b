// quantize as a job: results, progress, ends on the way, and files made again. The golden files are written by version
// 0.1.0 (tests/README.md).
#include "jobs/quantize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "base/error.h"
#include "error_of.h"
#include "gguf/reader.h"
#include "quantize/provenance.h"
#include "support.h"

namespace steelyard::jobs {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

const std::string kModel = test::golden("imatrix/deepseek2_k256/model.gguf");
const std::string kImatrix = test::golden("imatrix/deepseek2_k256/imatrix_with_output.gguf");

class QuantizeJobTest : public testing::Test {
 protected:
  QuantizeOptions to(const std::string& name, const std::string& type = "Q8_0") const {
    return {.model = kModel, .output = folder_ / name, .source = {.type = type}, .threads = 2};
  }
  static std::string error_of(const QuantizeOptions& options, const ProgressCallback& progress = {}) {
    return test::error_of([&] { quantize(options, progress); });
  }
  std::vector<std::string> files() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder_ / "")) {
      names.push_back(entry.path().filename().string());
    }
    return names;
  }

  const test::TempFolder folder_;
};

TEST_F(QuantizeJobTest, WritesWhatThePlanSays) {
  const QuantizeResult result = quantize(to("out.gguf", "Q4_K"));
  ASSERT_EQ(result.paths, (std::vector<std::string>{folder_ / "out.gguf"}));
  EXPECT_EQ(result.bytes, std::filesystem::file_size(result.paths[0]));
  EXPECT_EQ(result.threads, 2);
  EXPECT_FALSE(result.instruction_set.empty());
  const gguf::Reader reader(result.paths[0]);
  ASSERT_EQ(reader.tensors().size(), result.plan.tensors.size());
  for (size_t i = 0; i < reader.tensors().size(); ++i) {
    EXPECT_EQ(result.plan.tensors[i].type, format(reader.tensors()[i].type).name);
  }
  EXPECT_EQ(result.plan.total_bytes, reader.total_bytes());
  EXPECT_EQ(result.bits_per_weight, result.plan.bits_per_weight);
  QuantizeResult read;
  read_json(Json::parse(to_json(result).dump()), read, "test");
  EXPECT_EQ(to_json(read), to_json(result));
}

TEST_F(QuantizeJobTest, OptionsGoToJsonAndBack) {
  QuantizeOptions options = to("out.gguf");
  options.shaping.override_kv = {"general.name=str:x"};
  options.slab = 1 << 20;
  QuantizeOptions read;
  read_json(Json::parse(to_json(options).dump()), read, "test");
  EXPECT_EQ(to_json(read), to_json(options));
  read_json(Json::parse(R"({"slab": "2MiB"})"), read, "test");
  EXPECT_EQ(read.slab, 2u << 20);
  EXPECT_THROW(read_json(Json::parse(R"({"slabs": 1})"), read, "test"), Error);
}

TEST_F(QuantizeJobTest, ProgressBeginsWithThePlanAndRisesToTheEnd) {
  std::vector<std::string> stages;
  QuantizeResult known;
  int64_t last = 0, total = 0;
  const QuantizeResult result = quantize(to("out.gguf"), [&](const Progress& progress) {
    if (stages.empty() || stages.back() != progress.stage) stages.emplace_back(progress.stage);
    if (progress.stage == "plan") return read_json(progress.data, known, "test");
    EXPECT_EQ(progress.unit, "weights");
    EXPECT_GE(progress.done, last);
    EXPECT_LE(progress.done, progress.total);
    if (progress.done < progress.total) {
      EXPECT_TRUE(progress.item.starts_with("[")) << progress.item;
    }
    last = progress.done;
    total = progress.total;
  });
  EXPECT_EQ(stages, (std::vector<std::string>{"plan", "encode"}));
  EXPECT_EQ(last, total);
  EXPECT_EQ(static_cast<uint64_t>(total), result.plan.n_elements);
  EXPECT_EQ(to_json(known.plan), to_json(result.plan));
  EXPECT_THAT(known.paths, IsEmpty());
}

TEST_F(QuantizeJobTest, DryRunShowsThePlanAndWritesNothing) {
  QuantizeOptions options = to("out.gguf");
  options.dry_run = true;
  int calls = 0;
  const QuantizeResult result = quantize(options, [&](const Progress& progress) {
    EXPECT_EQ(progress.stage, "plan");
    ++calls;
  });
  EXPECT_EQ(calls, 1);
  EXPECT_FALSE(result.plan.tensors.empty());
  EXPECT_THAT(result.paths, IsEmpty());
  EXPECT_THAT(files(), IsEmpty());
}

// What is known to be wrong before the work is said before anything is shown.
TEST_F(QuantizeJobTest, ErrorsComeBeforeThePlan) {
  const auto error_before_plan = [&](const QuantizeOptions& options) {
    return error_of(options, [](const Progress& progress) { ADD_FAILURE() << progress.stage; });
  };
  EXPECT_THAT(error_before_plan(to("out.gguf", "IQ2_S")), HasSubstr("IQ2_S needs importance"));
  EXPECT_THAT(error_before_plan(to("absent/out.gguf")), HasSubstr("cannot write here"));
  std::filesystem::copy_file(kModel, folder_ / "m.gguf");
  QuantizeOptions onto_itself = to("m.gguf");
  onto_itself.model = folder_ / "m.gguf";
  EXPECT_THAT(error_before_plan(onto_itself), HasSubstr("is also the source"));
  QuantizeOptions strict = to("out.gguf");
  strict.source.tensor_type = {"atn=Q8_0"};
  strict.strict = true;
  EXPECT_THAT(error_before_plan(strict), HasSubstr("rule matches no tensor"));
}

TEST_F(QuantizeJobTest, OptionsOutOfRange) {
  QuantizeOptions options = to("out.gguf");
  options.output = "";
  EXPECT_THAT(error_of(options), HasSubstr("no output file given"));
  options = to("out.gguf");
  options.resume = options.restart = true;
  EXPECT_THAT(error_of(options), HasSubstr("--restart excludes --resume"));
  options = to("out.gguf");
  options.shaping.effort = "some";
  EXPECT_THAT(error_of(options), HasSubstr("--effort"));
  for (const int threads : {-1, 100000}) {
    options = to("out.gguf");
    options.threads = threads;
    EXPECT_THAT(error_of(options), HasSubstr("--threads"));
  }
  options = to("out.gguf");
  options.backend = "abacus";
  EXPECT_THAT(error_of(options), HasSubstr("abacus"));
}

struct Interrupted {};

TEST_F(QuantizeJobTest, ACallbackThatThrowsAtThePlanLeavesNothing) {
  EXPECT_THROW(quantize(to("out.gguf"), [](const Progress&) { throw Interrupted(); }), Interrupted);
  EXPECT_THAT(files(), IsEmpty());
}

TEST_F(QuantizeJobTest, ACallbackThatThrowsOnTheWayLeavesWhatCanBeTakenUp) {
  quantize(to("whole.gguf"));
  const auto stop_in_the_middle = [](const Progress& progress) {
    if (progress.total > 0 && 2 * progress.done > progress.total) throw Interrupted();
  };
  EXPECT_THROW(quantize(to("out.gguf"), stop_in_the_middle), Interrupted);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "out.gguf"));
  QuantizeOptions again = to("out.gguf");
  again.resume = true;
  quantize(again);
  EXPECT_TRUE(test::read_text(folder_ / "out.gguf") == test::read_text(folder_ / "whole.gguf"));
  EXPECT_EQ(files().size(), 2u);
}

TEST_F(QuantizeJobTest, ACallbackThatThrowsWithinACalibratedLayerLeavesNothing) {
  QuantizeOptions options{.model = test::golden("models/llama/model.gguf"), .output = folder_ / "out.gguf"};
  options.source.type = "Q8_0";
  options.calibrate = test::golden("imatrix/text.txt");
  options.shaping.ctx_size = 16;
  options.shaping.chunks = 16;
  int n_told = 0;
  const auto stop = [&](const Progress& progress) {
    if (progress.stage == "calibrate" && ++n_told == 3) throw Interrupted();
  };
  EXPECT_THROW(quantize(options, stop), Interrupted);
  EXPECT_EQ(n_told, 3);
  EXPECT_FALSE(std::filesystem::exists(options.output));
}

// ---- files made again

TEST_F(QuantizeJobTest, MakesAFileOfTheFirstVersionAgain) {
  QuantizeOptions options{.model = test::golden("models/llama/model.gguf"),
                          .output = folder_ / "defaults.gguf",
                          .from = test::golden("provenance/defaults.gguf")};
  quantize(options);
  EXPECT_TRUE(test::read_text(options.output) == test::read_text(options.from));

  const std::string first = "lists-00001-of-00002.gguf", second = "lists-00002-of-00002.gguf";
  options = {.model = kModel,
             .output = folder_ / "lists.gguf",
             .imatrix = kImatrix,
             .from = test::golden("provenance/" + first)};
  EXPECT_EQ(quantize(options).paths.size(), 2u);
  for (const std::string& name : {first, second}) {
    EXPECT_TRUE(test::read_text(folder_ / name) == test::read_text(test::golden("provenance/" + name))) << name;
  }
}

TEST_F(QuantizeJobTest, MakesItsOwnFilesAgain) {
  QuantizeOptions options = to("a.gguf", "Q4_K");
  options.imatrix = kImatrix;
  options.shaping = {.effort = "fast",
                     .prior_weight = 0.1,
                     .include_weights = {"attn", "ffn"},
                     .exclude_weights = {"gate"},
                     .override_kv = {"general.name=str:again", "general.size_label=str:\"tiny\""},
                     .prune_layers = "1"};
  quantize(options);
  const quantize::Provenance provenance = quantize::read_provenance(gguf::Reader(folder_ / "a.gguf")).provenance;
  EXPECT_EQ(provenance.options, recorded_options(options.shaping));
  EXPECT_THAT(provenance.arguments, IsEmpty());
  quantize({.model = kModel, .output = folder_ / "b.gguf", .imatrix = kImatrix, .from = folder_ / "a.gguf"});
  EXPECT_TRUE(test::read_text(folder_ / "a.gguf") == test::read_text(folder_ / "b.gguf"));
}

TEST_F(QuantizeJobTest, ARepetitionTakesNothingElse) {
  quantize(to("a.gguf"));
  QuantizeOptions options{.model = kModel, .output = folder_ / "b.gguf", .from = folder_ / "a.gguf"};
  options.source.type = "Q8_0";
  EXPECT_THAT(error_of(options), HasSubstr("give no others"));
  options.source = {};
  options.shaping.chunks = 4;
  EXPECT_THAT(error_of(options), HasSubstr("give no others"));
  options.shaping = {};
  options.imatrix = kImatrix;
  EXPECT_THAT(error_of(options), HasSubstr("was made without an imatrix: leave out --imatrix"));
  options.imatrix = "";
  options.model = test::golden("models/llama/model.gguf");
  EXPECT_THAT(error_of(options), HasSubstr("is not the source of"));
}

// Bytes of another version may differ: nobody has promised that they do not.
TEST_F(QuantizeJobTest, OtherVersionsAreRefused) {
  quantize(to("a.gguf"));
  std::string bytes = test::read_text(folder_ / "a.gguf");
  const std::string key = "steelyard.version";
  const size_t value = bytes.find(key) + key.size() + 4 + 8;  // its type, the length of the text
  bytes[value] = '9';
  std::ofstream(folder_ / "other.gguf", std::ios::binary) << bytes;
  EXPECT_THAT(error_of({.model = kModel, .output = folder_ / "b.gguf", .from = folder_ / "other.gguf"}),
              HasSubstr("was written by version 9."));
}

}  // namespace
}  // namespace steelyard::jobs
