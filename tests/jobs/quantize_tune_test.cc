// A file that is tuned as soon as it is quantized: what it records, where it goes on, and what is refused before the
// work.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "error_of.h"
#include "gguf/reader.h"
#include "jobs/quantize.h"
#include "jobs/tune.h"
#include "quantize/provenance.h"
#include "quantize/verify.h"
#include "support.h"

namespace steelyard::jobs {
namespace {

using testing::HasSubstr;
using Names = std::set<std::string>;

class QuantizeTune : public testing::Test {
 protected:
  QuantizeTune() {
    options_.source.type = "Q4_0";
    options_.shaping.ctx_size = 64;
    options_.shaping.chunks = 12;
  }
  Names names() const {
    Names found;
    for (const auto& entry : std::filesystem::directory_iterator(folder_ / ".")) found.insert(entry.path().filename());
    return found;
  }
  // Stops the run within a stage, after so many steps of it.
  void stop_at(const std::string& stage, int64_t done) const {
    const auto stop = [&](const Progress& at) {
      if (at.stage == stage && at.done >= done) throw std::runtime_error("stop");
    };
    EXPECT_THROW(quantize(options_, stop), std::runtime_error);
  }
  void expect_refused(const QuantizeOptions& options, const std::string& words) const {
    const Names before = names();
    const auto error = test::error_of(
        [&] { quantize(options, [&](const Progress& at) { ADD_FAILURE() << words << " after stage " << at.stage; }); });
    EXPECT_THAT(error, HasSubstr(words));
    EXPECT_EQ(error.find('\n'), std::string::npos);
    EXPECT_EQ(names(), before) << words;
  }

  const test::TempFolder folder_;
  const std::string llama_ = test::golden("models/llama/model.gguf");
  QuantizeOptions options_{.model = llama_,
                           .output = folder_ / "out.gguf",
                           .calibrate = std::string(STEELYARD_SOURCE_DIR) + "/calibration/default.txt",
                           .tune = true,
                           .tuning = {.steps = 8, .step_chunks = 2, .held_out = 3, .compare_every = 4},
                           .threads = 2};
};

// The same as one command after the other.
TEST_F(QuantizeTune, IsQuantizeAndThenTune) {
  const QuantizeResult result = quantize(options_);
  ASSERT_TRUE(result.tuning.has_value());
  EXPECT_GT(result.tuning->best_step, 0);
  EXPECT_EQ(result.paths, std::vector<std::string>{options_.output});
  EXPECT_EQ(result.bytes, std::filesystem::file_size(options_.output));
  QuantizeResult read;
  read_json(Json::parse(to_json(result).dump()), read, "test");
  EXPECT_EQ(to_json(read), to_json(result));

  QuantizeOptions alone = options_;
  alone.tune = false;
  alone.tuning = {};
  alone.output = folder_ / "q.gguf";
  EXPECT_FALSE(quantize(alone).tuning.has_value());
  const TuneResult tuned = tune({.model = alone.output,
                                 .output = folder_ / "tuned.gguf",
                                 .text = {.file = options_.calibrate, .ctx_size = 64, .chunks = 12},
                                 .teacher = llama_,
                                 .threads = 2,
                                 .tuning = options_.tuning});
  EXPECT_EQ(tuned.divergence, result.tuning->divergence);
  const gguf::Reader at_once(options_.output), after(folder_ / "tuned.gguf");
  for (size_t i = 0; i < at_once.tensors().size(); ++i) {
    const gguf::TensorInfo& tensor = at_once.tensors()[i];
    EXPECT_TRUE(std::ranges::equal(at_once.bytes(tensor), after.bytes(after.tensors()[i]))) << tensor.name;
  }
  quantize::verify(at_once, [](size_t, size_t) {});
  EXPECT_EQ(at_once.metadata().string("steelyard.tune.source.file"), "") << "it is made for this run only";
  EXPECT_EQ(at_once.metadata().string("steelyard.tune.text"), "default.txt");
  EXPECT_EQ(at_once.metadata().string("steelyard.tune.text.sha256"),
            quantize::read_provenance(at_once).provenance.calibration_sha256);
}

TEST_F(QuantizeTune, GoesOnWhereItWas) {
  quantize(options_);
  const std::string whole = test::read_text(options_.output);
  for (const auto& [stage, done] : {std::pair{"encode", 60000}, {"teacher", 2}, {"tuning", 0}, {"tune", 3}}) {
    options_.resume = false;
    std::filesystem::remove(options_.output);
    stop_at(stage, done);
    EXPECT_FALSE(std::filesystem::exists(options_.output)) << stage;
    const bool quantized = std::string(stage) != "encode";
    EXPECT_EQ(std::filesystem::exists(folder_ / "out.gguf.untuned"), quantized);
    expect_refused(options_, "--resume");
    options_.resume = true;
    int n_encoded = 0;
    quantize(options_, [&](const Progress& at) { n_encoded += at.stage == "encode"; });
    EXPECT_EQ(n_encoded == 0, quantized) << stage;
    EXPECT_TRUE(test::read_text(options_.output) == whole) << stage;
    EXPECT_EQ(names(), Names{"out.gguf"}) << stage;
  }
}

// What is left is of other options: neither taken nor thrown away.
TEST_F(QuantizeTune, OfAnotherRun) {
  stop_at("tune", 8);
  options_.resume = true;
  QuantizeOptions other = options_;
  other.source.type = "Q8_0";
  expect_refused(other, "--restart");
  other = options_;
  other.shaping.chunks = 10;
  expect_refused(other, "--restart");
  options_.resume = false;
  options_.restart = true;
  options_.source.type = "Q8_0";
  quantize(options_);
  EXPECT_EQ(names(), Names{"out.gguf"});
  EXPECT_EQ(gguf::Reader(options_.output).find("output.weight")->type, formats::Type::Q8_0);
}

TEST_F(QuantizeTune, RefusesBeforeTheWork) {
  const auto with = [&](const auto& change) {
    QuantizeOptions options = options_;
    change(options);
    return options;
  };
  // Nothing else than this shows that the original would be replaced: it is quantized into another file.
  std::filesystem::copy_file(llama_, folder_ / "model.gguf");
  expect_refused(with([&](QuantizeOptions& options) { options.model = options.output = folder_ / "model.gguf"; }),
                 "is also the input");
  EXPECT_TRUE(test::read_text(folder_ / "model.gguf") == test::read_text(llama_));
  expect_refused(with([](QuantizeOptions& options) { options.model = test::golden("models/qwen3next/model.gguf"); }),
                 "gated delta net");
  expect_refused(with([](QuantizeOptions& options) { options.shaping.chunks = 1; }), "at least 2 chunks");
  expect_refused(with([](QuantizeOptions& options) { options.tuning.steps = 0; }), "--steps");
  expect_refused(with([](QuantizeOptions& options) { options.shaping.split_max_size = 60000; }), "--split-max-size");
  expect_refused(with([](QuantizeOptions& options) { options.calibrate = ""; }), "--calibrate");
  expect_refused(with([](QuantizeOptions& options) { options.from = options.model; }), "--from");
}

}  // namespace
}  // namespace steelyard::jobs
