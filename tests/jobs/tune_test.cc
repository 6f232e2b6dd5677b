// Tuning as a job: what it writes, what it records, and what it refuses.
#include "jobs/tune.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <set>

#include "base/sha256.h"
#include "error_of.h"
#include "gguf/reader.h"
#include "jobs/perplexity.h"
#include "jobs/quantize.h"
#include "quantize/provenance.h"
#include "quantize/verify.h"
#include "support.h"

namespace steelyard::jobs {
namespace {

using testing::HasSubstr;

class TuneTest : public testing::Test {
 protected:
  TuneTest() { quantize(with_type(options_.model)); }

  QuantizeOptions with_type(const std::string& output) const {
    QuantizeOptions options{.model = llama_, .output = output, .threads = 2};
    options.source.type = "Q4_0";
    return options;
  }
  std::set<std::string> names() const {
    std::set<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator(folder_ / ".")) found.insert(entry.path().filename());
    return found;
  }
  // An error in one line, and no file more than before.
  void expect_refused(const std::function<void(TuneOptions&)>& change, const std::string& words) const {
    TuneOptions options = options_;
    change(options);
    const std::set<std::string> before = names();
    EXPECT_THAT(test::error_of([&] { tune(options); }), HasSubstr(words));
    EXPECT_EQ(names(), before) << words;
  }

  static inline const std::string glm_ = std::string(STEELYARD_SOURCE_DIR) + "/tests/models/glm-flash-tiny-bf16.gguf";
  const test::TempFolder folder_;
  const std::string llama_ = test::golden("models/llama/model.gguf");
  TuneOptions options_ = {
      .model = folder_ / "q.gguf",
      .output = folder_ / "out.gguf",
      .text = {.file = std::string(STEELYARD_SOURCE_DIR) + "/calibration/default.txt", .ctx_size = 64, .chunks = 12},
      .teacher = llama_,
      .threads = 2,
      .tuning = {.steps = 8, .step_chunks = 2, .held_out = 3, .compare_every = 4}};
};

TEST_F(TuneTest, ChangesOnlyWhatIsFreeAndRecordsIt) {
  const TuneResult result = tune(options_);
  EXPECT_GT(result.best_step, 0);
  EXPECT_LT(result.divergence, result.divergence_before);
  EXPECT_EQ(result.comparisons.size(), 3u);
  EXPECT_EQ(names(), (std::set<std::string>{"q.gguf", "out.gguf"}));
  const gguf::Reader before(options_.model), after(options_.output);
  ASSERT_EQ(before.tensors().size(), after.tensors().size());
  int n_changed = 0;
  for (size_t i = 0; i < before.tensors().size(); ++i) {
    const gguf::TensorInfo &was = before.tensors()[i], &is = after.tensors()[i];
    ASSERT_EQ(was.type, is.type);
    ASSERT_EQ(was.n_bytes, is.n_bytes);
    const auto a = before.bytes(was), b = after.bytes(is);
    const formats::Format& type = format(was.type);
    const int64_t n_blocks = static_cast<int64_t>(was.n_bytes) / type.block_bytes;
    n_changed += !std::ranges::equal(a, b);
    for (int64_t block = 0; type.is_quantized() && block < n_blocks; ++block) {
      // With the old scales, the block is the old block.
      std::vector<std::byte> bytes(b.begin() + block * type.block_bytes, b.begin() + (block + 1) * type.block_bytes);
      float scales[formats::kMaxStoredScales];
      type.read_scales(a.data() + block * type.block_bytes, scales);
      type.write_scales(scales, bytes.data());
      ASSERT_TRUE(std::ranges::equal(bytes, a.subspan(static_cast<size_t>(block * type.block_bytes), bytes.size())));
    }
    if (was.name == "token_embd.weight") EXPECT_TRUE(std::ranges::equal(a, b));
  }
  EXPECT_EQ(n_changed, result.n_tensors);
  quantize::verify(after, [](size_t, size_t) {});
  EXPECT_TRUE(quantize::is_tuned(after.metadata()));
  EXPECT_EQ(after.metadata().string("steelyard.tune.text.sha256"), sha256_of_file(options_.text.file));
  QuantizeOptions again{.model = llama_, .output = folder_ / "again.gguf", .from = options_.output};
  EXPECT_THAT(test::error_of([&] { quantize(again); }), HasSubstr("was tuned"));
}

TEST_F(TuneTest, IsTheSameForAnyNumberOfThreads) {
  tune(options_);
  const std::string whole = test::read_text(options_.output);
  for (const int threads : {1, 3}) {
    options_.threads = threads;
    tune(options_);
    EXPECT_TRUE(test::read_text(options_.output) == whole) << threads;
  }
}

// Steps far too long: nothing beats the file.
TEST_F(TuneTest, CopiesTheFileWhereNothingIsBetter) {
  options_.tuning.rate_scales = options_.tuning.rate_vectors = 1;
  options_.tuning.steps = 4;
  EXPECT_EQ(tune(options_).best_step, 0);
  EXPECT_TRUE(test::read_text(options_.output) == test::read_text(options_.model));
}

// A base of perplexity has the second half of each chunk; its text is used where none is given.
TEST_F(TuneTest, TakesABaseInEitherLayout) {
  for (const std::string layout : {"compact", "llama"}) {
    PerplexityOptions base;
    base.model.model = llama_;
    base.text = options_.text;
    base.kl_divergence_base = folder_ / (layout + ".kld");
    base.kl_divergence_base_format = layout;
    perplexity(base);
    TuneOptions options = options_;
    options.teacher = "";
    options.kl_divergence_base = base.kl_divergence_base;
    const TuneResult with_text = tune(options);
    EXPECT_LT(with_text.divergence, with_text.divergence_before) << layout;
    options.text.file = "";
    EXPECT_EQ(tune(options).divergence, with_text.divergence) << layout;
    options.text = options_.text;
    options.text.from_chunk = 1;
    EXPECT_THAT(test::error_of([&] { tune(options); }), HasSubstr("another text"));
  }
}

TEST_F(TuneTest, RefusesInOneLine) {
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

TEST_F(TuneTest, FollowsQuantization) {
  QuantizeOptions options = with_type(folder_ / "tuned.gguf");
  options.calibrate = options_.text.file;
  options.shaping.ctx_size = 64;
  options.shaping.chunks = 12;
  options.tune = true;
  options.tuning = options_.tuning;
  const QuantizeResult result = quantize(options);
  ASSERT_TRUE(result.tuning.has_value());
  EXPECT_LE(result.tuning->divergence, result.tuning->divergence_before);
  EXPECT_EQ(names(), (std::set<std::string>{"q.gguf", "tuned.gguf"}));
  // What an interrupted run has left is neither lost nor taken for another's.
  std::filesystem::copy_file(options_.model, folder_ / "tuned.gguf.untuned");
  EXPECT_THAT(test::error_of([&] { quantize(options); }), HasSubstr("--resume"));
  options.resume = true;
  EXPECT_THAT(test::error_of([&] { quantize(options); }), HasSubstr("--restart"));
  options.resume = false;
  options.restart = true;
  quantize(options);
  EXPECT_EQ(names(), (std::set<std::string>{"q.gguf", "tuned.gguf"}));
  options.calibrate = "";
  EXPECT_THAT(test::error_of([&] { quantize(options); }), HasSubstr("--tune"));
}

}  // namespace
}  // namespace steelyard::jobs
