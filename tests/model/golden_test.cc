// Every supported architecture against llama.cpp's logits and residual streams (tests/golden/models), on both backends.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "gguf/reader.h"
#include "golden_models.h"
#include "model/model.h"
#include "schedule/session.h"
#include "support.h"

namespace steelyard::model {
namespace {

struct Case {
  std::string model;
  const char* backend;
};

class ModelGolden : public testing::TestWithParam<Case> {
 protected:
  ModelGolden()
      : folder_(test::golden("models/" + GetParam().model) + "/"),
        reader_(folder_ + "model.gguf"),
        backend_(compute::make_backend(GetParam().backend)),
        model_(reader_, *backend_) {
    const auto json = nlohmann::json::parse(test::read_text(folder_ + "tokens.json"));
    for (const auto& ids : json["sequences"]) sequences_.push_back(ids.get<std::vector<int32_t>>());
  }

  void expect_near(Matrix actual, const float* golden, const std::string& what) const {
    double max = 0, sum = 0;
    for (int64_t t = 0; t < actual.rows; ++t) {
      for (int64_t c = 0; c < actual.cols; ++c) {
        const double difference = std::abs(double{actual.row(t)[c]} - golden[t * actual.cols + c]);
        max = std::max(max, std::isnan(difference) ? 1e9 : difference);
        sum += difference * difference;
      }
    }
    const test::Tolerance tolerance = test::tolerance(GetParam().model);
    EXPECT_LE(max, tolerance.max) << what;
    EXPECT_LE(std::sqrt(sum / static_cast<double>(actual.rows * actual.cols)), tolerance.rms) << what;
  }

  schedule::Session make_session(const std::vector<int32_t>& ids) const {
    const int64_t n_text = test::text_length(GetParam().model);
    return schedule::Session(model_, std::max(std::ssize(ids), n_text), 1, n_text);
  }

  std::vector<float> golden_logits(size_t s) const {
    return test::read_values<float>(folder_ + "logits_" + std::to_string(s) + ".f32");
  }

  const std::string folder_;
  gguf::Reader reader_;
  std::unique_ptr<Backend> backend_;
  Model model_;
  std::vector<std::vector<int32_t>> sequences_;
};

TEST_P(ModelGolden, LogitsOfOneBatch) {
  ASSERT_EQ(sequences_.size(), 2u);
  for (size_t s = 0; s < sequences_.size(); ++s) {
    const std::vector<float> golden = golden_logits(s);
    schedule::Session session = make_session(sequences_[s]);
    const Matrix logits = session.logits(session.forward(sequences_[s]));
    ASSERT_EQ(golden.size(), static_cast<size_t>(logits.rows * logits.cols));
    expect_near(logits, golden.data(), "sequence " + std::to_string(s));
  }
}

// A prompt in pieces, then one token at a time: the cache must give what one batch gives.
TEST_P(ModelGolden, LogitsOfSplitBatches) {
  const std::vector<int32_t>& ids = sequences_[0];
  const std::vector<float> golden = golden_logits(0);
  schedule::Session session = make_session(ids);
  for (size_t begin = 0, n = 0; begin < ids.size(); begin += n) {
    n = begin == 0 ? 17 : begin < 40 ? 23 : 1;
    const Matrix logits = session.logits(session.forward(std::span(ids).subspan(begin, n)));
    expect_near(logits, golden.data() + static_cast<int64_t>(begin) * logits.cols, "from " + std::to_string(begin));
  }
}

// Layer-major order: the residual stream after every layer, or all of them.
TEST_P(ModelGolden, ResidualAfterEachLayer) {
  const std::vector<int32_t>& ids = sequences_[1];
  const std::vector<float> golden = test::read_values<float>(folder_ + "layers_1.f32");
  const auto n = static_cast<int64_t>(ids.size());
  const int64_t width = model_.config().hidden_width();
  const auto of_golden = static_cast<int64_t>(golden.size()) / (model_.n_layers() * n);
  ASSERT_EQ(golden.size(), static_cast<size_t>(model_.n_layers() * n * of_golden));
  ASSERT_LE(of_golden, width);
  std::vector<float> residual(static_cast<size_t>(n * width));
  const Matrix x{residual.data(), n, width, width};
  model_.embed(ids, x);
  Scratch scratch(*backend_);
  ForwardContext ctx{*backend_, scratch, model_.config().norm_eps};
  for (int i = 0; i < model_.n_layers(); ++i) {
    const int64_t n_text = std::max(n, test::text_length(GetParam().model));
    const Layer layer = model_.layer(i, n_text);
    KvLayer kv = make_kv_layer(*backend_, layer.config.attention, n);
    const SequenceSlice all{0, n, 0, &kv, 0, is_extended(layer.config.attention.rope, n_text)};
    forward_layer(layer, x, std::span(&all, 1), ctx);
    expect_near(x.columns(0, of_golden), golden.data() + i * n * of_golden, "layer " + std::to_string(i));
  }
}

// Files of 3 to 19 types: a runtime that decodes exactly must give llama.cpp's logits for the same weights dequantized
// to F32.
TEST(QuantizedModels, GiveTheLogitsOfTheirDequantizedWeights) {
  for (const std::string name : {"qwen3moe_k256", "deepseek2_k256"}) {
    const std::string folder = test::golden("imatrix/" + name + "/");
    const auto tokens = nlohmann::json::parse(test::read_text(folder + "tokens.json"));
    const auto ids = tokens["sequences"][0].get<std::vector<int32_t>>();
    for (const std::string type : {"mixed", "Q4_K", "Q8_0"}) {
      for (const char* backend_name : {"ref", "cpu"}) {
        const gguf::Reader reader(folder + "model_" + type + ".gguf");
        const auto backend = compute::make_backend(backend_name);
        const Model model(reader, *backend);
        schedule::Session session(model, static_cast<int64_t>(ids.size()));
        const Matrix logits = session.logits(session.forward(ids));
        const auto golden = test::read_values<float>(folder + "logits_0_" + type + "_dequantized_f32.f32");
        ASSERT_EQ(golden.size(), static_cast<size_t>(logits.rows * logits.cols));
        double max = 0;
        for (size_t i = 0; i < golden.size(); ++i) max = std::max(max, std::abs(double{logits.data[i]} - golden[i]));
        EXPECT_LE(max, test::tolerance(name).max) << folder << type << " on " << backend_name;
      }
    }
  }
}

std::vector<Case> cases() {
  std::vector<Case> cases;
  for (const std::string& model : test::golden_models()) {
    for (const char* backend : {"ref", "cpu"}) cases.push_back({model, backend});
  }
  return cases;
}

std::string name(const testing::TestParamInfo<Case>& each) {
  return test::test_name(each.param.model) + "_" + each.param.backend;
}

INSTANTIATE_TEST_SUITE_P(Models, ModelGolden, testing::ValuesIn(cases()), name);

}  // namespace
}  // namespace steelyard::model
