// quantize as a job: results, progress, ends on the way, and files made again. The golden files are written by version
// 0.1.0 (tests/README.md).
#include "jobs/quantize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "base/error.h"
#include "base/sha256.h"
#include "error_of.h"
#include "gguf/reader.h"
#include "jobs/inspect.h"
#include "model_copy.h"
#include "quantize/journal.h"
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

// Tensors without dimensions hold one value, and some markers hold none: both are carried through, in one file and in
// shards, with importance, when a file is made again, verified and compared.
TEST_F(QuantizeJobTest, ScalarsAndEmptyTensors) {
  test::ModelCopy copy(kModel);
  const auto add = [&](size_t at, const std::string& name, int n_dims, std::array<int64_t, 4> ne, formats::Type type,
                       std::vector<std::byte> bytes) {
    gguf::TensorInfo info;
    info.name = name;
    info.n_dims = n_dims;
    info.ne = ne;
    info.type = type;
    copy.tensors.insert(copy.tensors.begin() + static_cast<std::ptrdiff_t>(at), {info, std::move(bytes)});
  };
  const std::vector<std::byte> value(4, std::byte{0x40});
  add(copy.tensors.size(), "last", 1, {0, 1, 1, 1}, formats::Type::F32, {});
  add(4, "logit_scale", 0, {1, 1, 1, 1}, formats::Type::F32, value);
  add(3, "none.weight", 2, {256, 0, 1, 1}, formats::Type::F32, {});
  add(3, "none_at_all.weight", 3, {0, 5, 2, 1}, formats::Type::F16, {});
  add(0, "first", 1, {0, 1, 1, 1}, formats::Type::F32, {});
  copy.save(folder_ / "source.gguf");
  const auto options = [&](const std::string& name, const std::string& type) {
    QuantizeOptions made = to(name, type);
    made.model = folder_ / "source.gguf";
    return made;
  };
  const auto expect_whole = [&](const std::string& path) {
    const gguf::Reader result(path);
    ASSERT_EQ(result.tensors().size(), copy.tensors.size());
    for (size_t i = 0; i < copy.tensors.size(); ++i) {
      EXPECT_EQ(result.tensors()[i].name, copy.tensors[i].info.name);
      EXPECT_EQ(result.tensors()[i].ne, copy.tensors[i].info.ne);
      EXPECT_EQ(result.tensors()[i].n_dims, copy.tensors[i].info.n_dims);
    }
    EXPECT_TRUE(std::ranges::equal(result.bytes(*result.find("logit_scale")), value));
    EXPECT_EQ(result.find("none.weight")->type, formats::Type::F32);
    inspect({.files = {path}, .verify = true});
    inspect({.files = {path, folder_ / "source.gguf"}, .diff = true});
    EXPECT_NO_THROW(to_json(inspect({.files = {path}})));
  };
  QuantizeOptions one = options("one.gguf", "Q8_0");
  one.verify = true;
  quantize(one);
  expect_whole(folder_ / "one.gguf");

  quantize({.model = folder_ / "source.gguf", .output = folder_ / "again.gguf", .from = folder_ / "one.gguf"});
  EXPECT_TRUE(test::read_text(folder_ / "again.gguf") == test::read_text(folder_ / "one.gguf"));

  QuantizeOptions shards = options("shards.gguf", "Q4_K");
  shards.shaping.split_max_size = 1;  // a shard for each tensor with bytes
  expect_whole(quantize(shards).paths.front());

  QuantizeOptions weighted = options("weighted.gguf", "COPY");
  weighted.imatrix = kImatrix;
  quantize(weighted);
  expect_whole(folder_ / "weighted.gguf");

  QuantizeOptions all = options("f32.gguf", "COPY");
  all.source.tensor_type = {".*=F32"};
  all.imatrix = kImatrix;
  quantize(all);
  EXPECT_EQ(gguf::Reader(folder_ / "f32.gguf").find("none_at_all.weight")->ne[1], 5);
}

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
  options.backend = {"abacus"};
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

// ---- calibrated on a text that the model writes

class QuantizeOnOwnText : public QuantizeJobTest {
 protected:
  static inline const std::string kDense = test::golden("models/llama/model.gguf");
  QuantizeOptions calibrated(const std::string& name, const std::string& text = "self:256") const {
    QuantizeOptions options = to(name, "Q4_0");
    options.model = kDense;
    options.calibrate = text;
    options.shaping.ctx_size = 32;
    return options;
  }
  std::string content(const std::string& name) const { return test::read_text(folder_ / name); }
  quantize::Provenance provenance(const std::string& name) const {
    return quantize::read_provenance(gguf::Reader(folder_ / name)).provenance;
  }
  // SHA-256 of each.
  std::vector<std::string> tensors(const std::string& name) const {
    return quantize::read_provenance(gguf::Reader(folder_ / name)).tensors;
  }
  // The stages of a run, each once where it begins.
  static std::vector<std::string> stages(const QuantizeOptions& options) {
    std::vector<std::string> stages;
    quantize(options, [&](const Progress& progress) {
      if (stages.empty() || stages.back() != progress.stage) stages.emplace_back(progress.stage);
    });
    return stages;
  }
  // Ends a run where it first tells of such a stage.
  void interrupt(const QuantizeOptions& options, std::string_view stage) const {
    EXPECT_THROW(quantize(options,
                          [&](const Progress& progress) {
                            if (progress.stage == stage && (stage != "write" || progress.done == 2))
                              throw Interrupted();
                          }),
                 Interrupted);
  }
  static ProgressCallback no_writing() {
    return [](const Progress& progress) { EXPECT_NE(progress.stage, "write"); };
  }
};

TEST_F(QuantizeOnOwnText, TheSameBytesForAnyNumberOfThreads) {
  QuantizeOptions options = calibrated("two.gguf");
  options.files.save_text = folder_ / "own.text";
  const QuantizeResult result = quantize(options);
  ASSERT_TRUE(result.writing);
  EXPECT_EQ(result.writing->n_chunks, 8);
  EXPECT_EQ(result.writing->n_tokens, 8 * 32);
  EXPECT_FALSE(result.rounding.empty());
  EXPECT_GT(result.half_text_loss, 0);
  EXPECT_EQ(provenance("two.gguf").calibration_text, "self:256");
  EXPECT_EQ(provenance("two.gguf").calibration_sha256, sha256(content("own.text")));
  QuantizeResult read;
  read_json(Json::parse(to_json(result).dump()), read, "test");
  EXPECT_EQ(to_json(read), to_json(result));

  options = calibrated("one.gguf");
  options.threads = 1;
  quantize(options);
  EXPECT_TRUE(content("one.gguf") == content("two.gguf"));
  options = calibrated("other.gguf");
  options.shaping.writing.seed = 1;
  quantize(options);
  EXPECT_NE(tensors("other.gguf"), tensors("two.gguf"));
  EXPECT_EQ(files().size(), 4u) << "the text's progress is of no use any more";
}

TEST_F(QuantizeOnOwnText, WritesBeforeItShowsThePlan) {
  const std::vector<std::string> order = stages(calibrated("out.gguf"));
  ASSERT_GE(order.size(), 3u);
  EXPECT_EQ(order[0], "write");
  EXPECT_EQ(order[1], "plan");
  EXPECT_NE(std::ranges::find(order, "calibrate"), order.end());
  EXPECT_EQ(std::ranges::count(order, "write"), 1);
}

TEST_F(QuantizeOnOwnText, TheSavedTextGivesTheSameTensors) {
  QuantizeOptions options = calibrated("own.gguf");
  options.files.save_text = folder_ / "own.text";
  quantize(options);
  options = calibrated("saved.gguf", folder_ / "own.text");
  const QuantizeResult result = quantize(options, no_writing());
  EXPECT_FALSE(result.writing);
  EXPECT_EQ(tensors("saved.gguf"), tensors("own.gguf"));
  EXPECT_EQ(provenance("saved.gguf").calibration_sha256, provenance("own.gguf").calibration_sha256);
  // What is given as a file is known by its hash alone, whatever its name.
  EXPECT_EQ(provenance("saved.gguf").calibration_text, "");
  // Half of it is another text.
  options = calibrated("half.gguf", folder_ / "own.text");
  options.shaping.chunks = 4;
  quantize(options);
  EXPECT_NE(tensors("half.gguf"), tensors("own.gguf"));
}

TEST_F(QuantizeOnOwnText, MakesItsFilesAgain) {
  QuantizeOptions options = calibrated("a.gguf", "self:96+" + test::golden("imatrix/text.txt"));
  options.shaping.chunks = 6;
  options.shaping.writing = {.seed = 5, .temp = 0.9, .top_p = 0.95, .chats = 0.25};
  quantize(options);
  EXPECT_EQ(provenance("a.gguf").calibration_text, "self:96+text.txt");
  QuantizeOptions again{.model = kDense, .output = folder_ / "b.gguf", .from = folder_ / "a.gguf"};
  EXPECT_THAT(error_of(again), HasSubstr("was calibrated on a text: give it with --calibrate"));
  // Where the file lies does not matter.
  std::filesystem::copy_file(test::golden("imatrix/text.txt"), folder_ / "renamed");
  again.calibrate = "self:96+" + (folder_ / "renamed");
  quantize(again);
  EXPECT_TRUE(content("a.gguf") == content("b.gguf"));

  again.output = folder_ / "c.gguf";
  for (const std::string& other :
       {std::string("self:96"), "self:128+" + test::golden("imatrix/text.txt"), test::golden("imatrix/text.txt"),
        "self:96+" + test::golden("choice/hellaswag.txt")}) {
    again.calibrate = other;
    EXPECT_THAT(error_of(again), HasSubstr("is not the calibration text of")) << other;
  }
  EXPECT_FALSE(std::filesystem::exists(folder_ / "c.gguf"));
}

// The text itself does as well as a model that writes it: the hash is that of the file that keeps it.
TEST_F(QuantizeOnOwnText, MakesItsFilesAgainFromTheTextThatWasKept) {
  QuantizeOptions options = calibrated("a.gguf");
  options.shaping.writing.seed = 5;
  options.files.save_text = folder_ / "own.text";
  quantize(options);
  quantize(
      {.model = kDense, .output = folder_ / "b.gguf", .calibrate = folder_ / "own.text", .from = folder_ / "a.gguf"},
      no_writing());
  EXPECT_TRUE(content("a.gguf") == content("b.gguf"));
}

TEST_F(QuantizeOnOwnText, ASmallerFileOfTheModelMayWrite) {
  QuantizeOptions small = to("small.gguf", "Q4_0");
  small.model = kDense;
  quantize(small);
  QuantizeOptions options = calibrated("a.gguf");
  options.files.writer = folder_ / "small.gguf";
  options.files.save_text = folder_ / "a.text";
  EXPECT_EQ(quantize(options).writing->n_chunks, 8);
  options = calibrated("b.gguf");
  options.files.save_text = folder_ / "b.text";
  quantize(options);
  EXPECT_NE(content("a.text"), content("b.text"));
  // It is no part of the record: who makes the file again says who writes.
  QuantizeOptions again{
      .model = kDense, .output = folder_ / "c.gguf", .calibrate = "self:256", .from = folder_ / "a.gguf"};
  EXPECT_THAT(error_of(again), HasSubstr("is not the calibration text of"));
  again.files.writer = folder_ / "small.gguf";
  quantize(again);
  EXPECT_TRUE(content("a.gguf") == content("c.gguf"));
}

TEST_F(QuantizeOnOwnText, ADryRunNeedsNoText) {
  QuantizeOptions options = calibrated("out.gguf", "self");
  options.dry_run = true;
  options.files.save_text = folder_ / "own.text";
  const QuantizeResult dry = quantize(options, [](const Progress& progress) { EXPECT_EQ(progress.stage, "plan"); });
  EXPECT_FALSE(dry.plan.tensors.empty());
  EXPECT_FALSE(dry.writing);
  EXPECT_THAT(files(), IsEmpty());
  options.output = "";
  EXPECT_EQ(quantize(options).plan.total_bytes, dry.plan.total_bytes);
  EXPECT_THAT(files(), IsEmpty());
}

TEST_F(QuantizeOnOwnText, AnInterruptedRunDoesNotWriteAgain) {
  quantize(calibrated("whole.gguf"));
  QuantizeOptions resumed = calibrated("out.gguf");
  resumed.resume = true;
  // While the model writes, nothing is lost but what was not saved yet.
  interrupt(calibrated("out.gguf"), "write");
  EXPECT_FALSE(std::filesystem::exists(resumed.output));
  interrupt(resumed, "calibrate");
  EXPECT_TRUE(std::filesystem::exists(folder_ / "out.gguf.text"));
  interrupt(resumed, "encode");
  const QuantizeResult result = quantize(resumed, no_writing());
  EXPECT_EQ(result.writing->resumed_chunks, 8);
  EXPECT_EQ(result.writing->n_tokens, 0);
  EXPECT_TRUE(content("out.gguf") == content("whole.gguf"));
  EXPECT_EQ(files().size(), 2u);
}

TEST_F(QuantizeOnOwnText, WithoutResumptionItWritesAnew) {
  interrupt(calibrated("out.gguf"), "calibrate");
  QuantizeOptions other = calibrated("out.gguf");
  other.shaping.writing.seed = 1;
  other.resume = true;
  EXPECT_THAT(error_of(other), HasSubstr("out.gguf.text: is the progress of a run with another"));
  other.resume = false;
  other.restart = true;
  EXPECT_EQ(quantize(other).writing->resumed_chunks, 0);
  EXPECT_EQ(files().size(), 1u);
}

// An hour of writing before a refusal would be an hour lost, and so would be the text that an earlier run has left.
TEST_F(QuantizeOnOwnText, WhatIsRefusedIsRefusedBeforeTheModelWrites) {
  EXPECT_THROW(quantize(calibrated("out.gguf"),
                        [](const Progress& progress) {
                          if (progress.total > 0 && progress.stage == "encode" && 2 * progress.done > progress.total) {
                            throw Interrupted();
                          }
                        }),
               Interrupted);
  const std::string text = content("out.gguf.text");
  const auto refusal = [&](const QuantizeOptions& options) { return error_of(options, no_writing()); };
  EXPECT_THAT(refusal(calibrated("out.gguf")), HasSubstr("--resume goes on with it, --restart discards it"));
  EXPECT_EQ(content("out.gguf.text"), text);
  EXPECT_THAT(refusal(calibrated("absent/out.gguf")), HasSubstr("absent/out.gguf: cannot write here"));
  QuantizeOptions options = calibrated("b.gguf");
  options.files.save_text = folder_ / "absent/own.text";
  EXPECT_THAT(refusal(options), HasSubstr("absent/own.text: cannot write here"));
  options = calibrated("b.gguf", test::golden("imatrix/text.txt"));
  options.shaping.writing.seed = 1;
  EXPECT_THAT(refusal(options), HasSubstr("need a text called self"));
  EXPECT_THAT(refusal(calibrated("b.gguf", "self:many")), HasSubstr("expected self:N"));
  options = calibrated("b.gguf", "self+" + test::golden("imatrix/text.txt"));
  options.shaping.own_share = 2;
  EXPECT_THAT(refusal(options), HasSubstr("--own-share"));
  options = calibrated("b.gguf");
  options.model = kModel;
  options.source.type = "IQ2_S";
  EXPECT_THAT(refusal(options), HasSubstr("IQ2_S needs importance"));
}

// How much is enough depends on the model, and on this version's idea of it.
TEST_F(QuantizeOnOwnText, TheNumberOfChunksIsRecorded) {
  QuantizeOptions options = calibrated("a.gguf", test::golden("imatrix/text.txt"));
  options.shaping.ctx_size = 64;
  quantize(options);
  EXPECT_THAT(provenance("a.gguf").options, HasSubstr("\"chunks\":22,"));
  quantize(to("b.gguf"));
  EXPECT_THAT(provenance("b.gguf").options, HasSubstr("\"chunks\":0,"));
  quantize(calibrated("c.gguf"));
  EXPECT_THAT(provenance("c.gguf").options, HasSubstr("\"chunks\":2048,"));
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

// The file to repeat may have been changed since: more tensors, each with a hash.
TEST_F(QuantizeJobTest, ARepetitionHasAsManyTensorsAsTheFile) {
  quantize(to("a.gguf"));
  for (const bool more : {true, false}) {
    test::ModelCopy copy(folder_ / "a.gguf");
    std::vector<std::string> hashes;
    for (const std::string_view hash : copy.metadata.strings("steelyard.tensor.sha256")) hashes.emplace_back(hash);
    for (int i = 0; more && i < 2000; ++i) {
      copy.tensors.push_back(copy.tensors.back());
      copy.tensors.back().info.name = "zz." + std::to_string(i);
      hashes.emplace_back("");
    }
    if (!more) {
      copy.tensors.pop_back();
      hashes.pop_back();
    }
    copy.metadata.set_strings("steelyard.tensor.sha256", hashes);
    copy.save(folder_ / "from.gguf");
    EXPECT_THAT(error_of({.model = kModel, .output = folder_ / "b.gguf", .from = folder_ / "from.gguf"}),
                HasSubstr("the file to repeat has"));
    std::filesystem::remove(folder_ / "b.gguf.journal");
    std::filesystem::remove(folder_ / "b.gguf.partial");
  }
}

// What a journal says about shards decides which files are removed.
TEST_F(QuantizeJobTest, AJournalsNumberOfShardsIsBelievedWithinReason) {
  for (const std::string shards : {"-1", "+3", "3x", "99999999999999999999", "70000", ""}) {
    QuantizeOptions options = to("out.gguf");
    {
      quantize::Journal journal(options.output + ".journal", options.output);
      journal.begin({{"shards", shards}});
      journal.append(std::vector<quantize::TensorHashes>{{sha256("a"), sha256("b")}});
    }
    options.restart = true;
    quantize(options);
    EXPECT_EQ(files(), (std::vector<std::string>{"out.gguf"})) << shards;
  }
}

// ---- what is refused because it would be ignored, and what only the encoded weights show

TEST_F(QuantizeJobTest, RefusesWhatItWouldIgnore) {
  const auto refusal = [&](const auto& change) {
    QuantizeOptions options = to("out.gguf");
    change(options);
    return error_of(options);
  };
  EXPECT_EQ(refusal([](auto& options) { options.shaping.writing.seed = 3, options.shaping.chunks = 4; }),
            "--chunks, --seed: no effect without --calibrate");
  EXPECT_EQ(refusal([](auto& options) { options.shaping.ctx_size = 64; }), "--ctx-size: no effect without --calibrate");
  EXPECT_EQ(refusal([](auto& options) { options.files.writer = "w.gguf"; }), "--writer: no effect without --calibrate");
  EXPECT_EQ(refusal([](auto& options) { options.memory = 1 << 20; }), "--memory: no effect without --calibrate");
  EXPECT_EQ(refusal([](auto& options) { options.shaping.exclude_weights = {"ffn"}; }),
            "--exclude-weights: no effect without --imatrix");
  EXPECT_EQ(refusal([](auto& options) { options.tuning.steps = 3; }), "--steps: no effect without --tune");
  EXPECT_EQ(refusal([](auto& options) { options.devices.reserve = 3; }), "--reserve: no effect without --vram");
  EXPECT_THAT(files(), IsEmpty());
}

TEST_F(QuantizeJobTest, ATensorThatBecomesZeroIsAWarning) {
  test::ModelCopy model(kModel);
  const auto tensor = model.find("blk.1.ffn_up_exps.weight");
  ASSERT_EQ(tensor->info.type, formats::Type::F32);
  for (size_t i = 0; i < tensor->bytes.size(); i += sizeof(float))
    model.set_value(tensor->info.name, i / sizeof(float), 1e-12f);
  model.save(folder_ / "tiny.gguf");
  QuantizeOptions options = to("out.gguf");
  options.model = folder_ / "tiny.gguf";
  const QuantizeResult result = quantize(options);
  ASSERT_EQ(result.findings.size(), 1u);
  EXPECT_EQ(result.findings[0].severity, "warning");
  EXPECT_THAT(result.findings[0].what, HasSubstr("became zero"));
  EXPECT_EQ(result.findings[0].subjects, std::vector<std::string>{"blk.1.ffn_up_exps.weight (Q8_0)"});
  options.output = folder_ / "strict.gguf";
  options.strict = true;
  EXPECT_THAT(error_of(options), HasSubstr("became zero"));
  EXPECT_EQ(files().size(), 2u) << "the model and the first file";
}

}  // namespace
}  // namespace steelyard::jobs
