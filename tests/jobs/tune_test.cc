// Tuning as a job: what it writes, what it records, and what it says while it works.
#include "jobs/tune.h"

#include <algorithm>

#include "base/sha256.h"
#include "gguf/reader.h"
#include "jobs/perplexity.h"
#include "jobs/tune_fixture.h"
#include "quantize/provenance.h"
#include "quantize/verify.h"

namespace steelyard::jobs {
namespace {

using testing::HasSubstr;

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
    EXPECT_TRUE(was.name != "token_embd.weight" || std::ranges::equal(a, b));
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
  options_.tuning.rate_scales = options_.tuning.rate_vectors = 1e6;
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

// The bundled model with experts, and shards of it as one file.
TEST_F(TuneTest, TakesShards) {
  QuantizeOptions sharded{
      .model = test::golden("models/mixtral/model.gguf"), .output = folder_ / "s.gguf", .threads = 2};
  sharded.source.type = "Q4_0";
  sharded.shaping.split_max_size = 60000;
  const QuantizeResult shards = quantize(sharded);
  ASSERT_GT(shards.paths.size(), 1u);
  options_.model = shards.paths[0];
  options_.teacher = sharded.model;
  const TuneResult result = tune(options_);
  EXPECT_GT(result.best_step, 0);
  const gguf::Reader before(options_.model), after(options_.output);
  EXPECT_EQ(after.tensors().size(), before.tensors().size());
  quantize::verify(after, [](size_t, size_t) {});
  const gguf::TensorInfo& router = *after.find("blk.0.ffn_gate_inp.weight");
  EXPECT_FALSE(std::ranges::equal(after.bytes(router), before.bytes(*before.find(router.name))));
}

TEST_F(TuneTest, RecordsHowItWasDone) {
  const TuneResult result = tune(options_);
  const gguf::Reader before(options_.model), after(options_.output);
  const gguf::Metadata& record = after.metadata();
  TuningOptions was;
  read_json(Json::parse(record.string("steelyard.tune.options")), was, "test");
  EXPECT_EQ(to_json(was), to_json(options_.tuning));
  EXPECT_EQ(record.string("steelyard.tune.text"), "default.txt");
  EXPECT_EQ(record.string("steelyard.tune.teacher"), "model.gguf");
  EXPECT_EQ(record.string("steelyard.tune.source.file"), "q.gguf");
  EXPECT_EQ(record.string("steelyard.tune.source.header.sha256"), quantize::header_sha256(before));
  EXPECT_EQ(record.integer("steelyard.tune.steps"), result.best_step);
  // What is recorded of the quantization stays, but for the hashes of what has changed.
  const quantize::Recorded is = quantize::read_provenance(after), quantized = quantize::read_provenance(before);
  EXPECT_EQ(is.provenance.plan, quantized.provenance.plan);
  EXPECT_EQ(is.source_sha256, quantized.source_sha256);
  for (size_t i = 0; i < is.tensors.size(); ++i) {
    const gguf::TensorInfo& tensor = after.tensors()[i];
    const bool same = std::ranges::equal(after.bytes(tensor), before.bytes(before.tensors()[i]));
    EXPECT_EQ(is.tensors[i] == quantized.tensors[i], same) << tensor.name;
  }
}

TEST_F(TuneTest, ResultAndProgress) {
  std::vector<std::string> stages;
  std::vector<int64_t> steps;
  Json tuning, comparisons = Json::array();
  const TuneResult result = tune(options_, [&](const Progress& at) {
    if (stages.empty() || stages.back() != at.stage) stages.emplace_back(at.stage);
    EXPECT_LE(at.done, at.total);
    if (at.stage == "tuning") tuning = at.data;
    if (at.stage != "tune") return;
    steps.push_back(at.done);
    EXPECT_EQ(at.total, 8);
    if (!at.data.is_null()) comparisons.push_back(at.data);
  });
  EXPECT_EQ(stages, (std::vector<std::string>{"teacher", "tuning", "tune"}));
  EXPECT_EQ(steps, (std::vector<int64_t>{0, 1, 2, 3, 4, 5, 6, 7, 8}));
  EXPECT_EQ(
      tuning,
      (Json{{"n_parameters", result.n_parameters}, {"n_tensors", result.n_tensors}, {"n_training", 9}, {"steps", 8}}));
  const Json json = to_json(result);
  EXPECT_EQ(json["comparisons"], comparisons);
  EXPECT_EQ(json["bytes"], std::filesystem::file_size(options_.output));
  TuneResult read;
  read_json(Json::parse(json.dump()), read, "test");
  EXPECT_EQ(to_json(read), json);
}

// Few chunks: no more than a quarter of them is held out.
TEST_F(TuneTest, HoldsAQuarterOutAtMost) {
  options_.tuning.held_out = 100;
  int64_t n_training = 0;
  for (const auto& [chunks, expected] : {std::pair{2, 1}, {3, 2}, {8, 6}}) {
    options_.text.chunks = chunks;
    tune(options_, [&](const Progress& at) {
      if (at.stage == "tuning") n_training = at.data["n_training"];
    });
    EXPECT_EQ(n_training, expected) << chunks;
  }
}

// A run is fitted into its time after some steps, and does not become longer by that.
TEST_F(TuneTest, IsDoneWhenItsTimeIsOver) {
  options_.time = 1e-9;
  EXPECT_EQ(tune(options_).comparisons.back().step, 6) << "five whose time is measured, one more to end with";
  options_.time = 1e300;
  EXPECT_EQ(tune(options_).comparisons.back().step, 8);
  options_.time = 1e-9;
  options_.tuning.steps = 5;
  EXPECT_EQ(tune(options_).comparisons.back().step, 5);
}

}  // namespace
}  // namespace steelyard::jobs
