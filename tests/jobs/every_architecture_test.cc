// Every architecture through every job that runs a model: importance, perplexity in both orders, quantization with a
// calibration text, generation, and the plan of memory. The models are the tiny ones of tests/golden/models.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "compute/backend.h"
#include "gguf/block_name.h"
#include "gguf/reader.h"
#include "golden_models.h"
#include "imatrix/imatrix.h"
#include "jobs/fit.h"
#include "jobs/imatrix.h"
#include "jobs/perplexity.h"
#include "jobs/quantize.h"
#include "jobs/run.h"
#include "model/model.h"

namespace steelyard::jobs {
namespace {

constexpr int64_t kContext = 32, kChunks = 24;

class EveryArchitecture : public testing::TestWithParam<std::string> {
 protected:
  EveryArchitecture() : model_(test::golden("models/" + GetParam() + "/model.gguf")) {}

  static TextOptions text() {
    return {.file = test::golden("imatrix/text.txt"), .ctx_size = kContext, .chunks = kChunks};
  }
  static double perplexity_of(const std::string& model, const std::string& order = "") {
    PerplexityOptions options;
    options.model.model = model;
    options.text = text();
    options.text.chunks = 8;
    options.sweep.order = order;
    return perplexity(options).perplexity;
  }
  // The matrices that the forward pass multiplies, those of blocks for prediction included.
  static model::LoadedTensors matrices(const model::Model& model) {
    model::LoadedTensors loaded;
    for (int i = 0; i < model.n_layers() + model.n_predictions(); ++i) model.layer(i, kContext, {}, &loaded);
    return loaded;
  }

  const test::TempFolder folder_;
  const std::string model_;
};

TEST_P(EveryArchitecture, ImportanceOfEveryMatrixAndExpert) {
  ImatrixOptions options;
  options.model.model = model_;
  options.text = text();
  options.output_file = folder_ / "importance.gguf";
  imatrix(options);
  const imatrix::Imatrix found = imatrix::Imatrix::load(options.output_file);
  const gguf::Reader reader(model_);
  const auto backend = compute::make_backend("cpu");
  const model::Model model(reader, *backend);
  for (const auto& [name, weight] : matrices(model).weights) {
    if (reader.find(name)->n_dims < 2) continue;  // a single row, which is not quantized
    const auto entry = found.entries.find(name);
    if (entry == found.entries.end()) {
      ADD_FAILURE() << name << " has no importance";
      continue;
    }
    const std::vector<int64_t>& counts = entry->second.counts;
    // The router of a block for prediction, which is random here, may leave an expert out.
    const bool predicts = gguf::block_of(name).value_or(0) >= model.n_layers();
    EXPECT_GT(predicts ? std::ranges::max(counts) : std::ranges::min(counts), 0) << name;
    EXPECT_EQ(std::ssize(entry->second.in_sum2) % weight.n_in, 0) << name;
    EXPECT_GT(std::ranges::max(entry->second.in_sum2), 0) << name;
  }
}

TEST_P(EveryArchitecture, PerplexityIsTheSameInBothOrders) {
  const double by_token = perplexity_of(model_, "token"), by_layer = perplexity_of(model_, "layer");
  EXPECT_TRUE(std::isfinite(by_token));
  EXPECT_NEAR(by_layer, by_token, 1e-9 * by_token);
}

// Each matrix whose rows divide into blocks is rounded with what it sees, and the model stays nearly what it was.
TEST_P(EveryArchitecture, QuantizesWithACalibrationText) {
  QuantizeOptions options{.model = model_, .output = folder_ / "quantized.gguf"};
  options.source.type = "Q8_0";
  options.source.pure = true;
  options.calibrate = text().file;
  options.shaping.ctx_size = kContext;
  options.shaping.chunks = kChunks;
  std::set<std::string> rounded;
  for (const RoundedTensor& tensor : quantize(options).rounding) rounded.insert(tensor.name);
  const gguf::Reader source(model_), result(options.output);
  const auto backend = compute::make_backend("cpu");
  const model::Model model(source, *backend);
  const model::LoadedTensors all = matrices(model);
  std::set<std::string> expected;
  for (const gguf::TensorInfo& tensor : result.tensors()) {
    const bool in_trunk = gguf::block_of(tensor.name).value_or(model.n_layers()) < model.n_layers();
    const bool coded = tensor.type != source.find(tensor.name)->type && formats::format(tensor.type).unpack != nullptr;
    if (in_trunk && coded && all.weights.contains(tensor.name)) expected.insert(tensor.name);
  }
  EXPECT_EQ(rounded, expected);
  const double before = perplexity_of(model_), after = perplexity_of(options.output);
  EXPECT_NEAR(after, before, 0.1 * before);
}

TEST_P(EveryArchitecture, ContinuesAText) {
  RunOptions options;
  options.model.model = model_;
  options.prompt = "The quick brown fox";
  options.n_predict = 12;
  options.sampling.temperature = 0;
  const RunResult once = run(options);
  EXPECT_EQ(once.generation.tokens > 0 || once.finish_reason == "end-of-generation", true);
  options.batch_size = 3;  // the prompt in pieces
  EXPECT_EQ(run(options).text, once.text);
}

TEST_P(EveryArchitecture, FitsWithACache) {
  FitOptions options{.model = model_, .ctx_size = kContext};
  options.devices.vram = "1GiB";
  const FitResult found = fit(options);
  EXPECT_TRUE(found.fits);
  ASSERT_EQ(found.devices.size(), 1u);
  EXPECT_GT(found.devices[0].cache, 0u);
  EXPECT_GT(found.devices[0].weights, 0u);
}

INSTANTIATE_TEST_SUITE_P(Models, EveryArchitecture, testing::ValuesIn(test::golden_models()),
                         [](const auto& each) { return test::test_name(each.param); });

}  // namespace
}  // namespace steelyard::jobs
