// Every architecture on the emulated device against llama.cpp's logits (tests/golden/models), with the tolerances that
// the other backends are held to (tests/model/golden_test.cc).
#include <cmath>
#include <nlohmann/json.hpp>

#include "compute/cuda/on_device.h"
#include "gguf/reader.h"
#include "golden_models.h"
#include "model/model.h"
#include "schedule/session.h"
#include "support.h"

namespace steelyard::compute {
namespace {

class CudaModels : public CudaTest, public testing::WithParamInterface<std::string> {
 protected:
  // Logits of a sequence, taken in pieces of these lengths (the last one repeated).
  void expect_golden(const model::Model& model, const std::vector<int32_t>& ids, const std::vector<float>& golden,
                     const std::vector<size_t>& lengths) const {
    const int64_t n_text = test::text_length(GetParam());
    schedule::Session session(model, std::max(std::ssize(ids), n_text), 1, n_text);
    double max = 0, sum = 0;
    size_t at = 0;
    for (size_t begin = 0, piece = 0; begin < ids.size(); ++piece) {
      const size_t n = std::min(lengths[std::min(piece, lengths.size() - 1)], ids.size() - begin);
      const Matrix logits = session.logits(session.forward(std::span(ids).subspan(begin, n)));
      std::vector<float> host(static_cast<size_t>(logits.rows * logits.cols));
      model.backend().download(host.data(), logits.data, host.size() * sizeof(float));
      for (const float value : host) {
        const double difference = std::abs(double{value} - golden.at(at++));
        max = std::max(max, std::isnan(difference) ? 1e9 : difference);
        sum += difference * difference;
      }
      begin += n;
    }
    ASSERT_EQ(at, golden.size());
    const test::Tolerance tolerance = test::tolerance(GetParam());
    EXPECT_LE(max, tolerance.max);
    EXPECT_LE(std::sqrt(sum / static_cast<double>(at)), tolerance.rms);
  }
};

TEST_P(CudaModels, GiveGoldenLogits) {
  const std::string folder = test::golden("models/" + GetParam() + "/");
  const auto json = nlohmann::json::parse(test::read_text(folder + "tokens.json"));
  const gguf::Reader reader(folder + "model.gguf");
  const auto backend = cuda();
  const model::Model model(reader, *backend);
  const auto first = json["sequences"][0].get<std::vector<int32_t>>();
  expect_golden(model, first, test::read_values<float>(folder + "logits_0.f32"), {17, 23, 1});
  const auto second = json["sequences"][1].get<std::vector<int32_t>>();
  expect_golden(model, second, test::read_values<float>(folder + "logits_1.f32"), {48});
}

INSTANTIATE_TEST_SUITE_P(All, CudaModels, testing::ValuesIn(test::golden_models()),
                         [](const auto& each) { return test::test_name(each.param); });

// Files of up to 19 types, whose weights are decoded exactly.
TEST_F(CudaModels, QuantizedFilesGiveTheLogitsOfTheirDequantizedWeights) {
  for (const std::string name : {"qwen3moe_k256", "deepseek2_k256"}) {
    const std::string folder = test::golden("imatrix/" + name + "/");
    const auto ids =
        nlohmann::json::parse(test::read_text(folder + "tokens.json"))["sequences"][0].get<std::vector<int32_t>>();
    const gguf::Reader reader(folder + "model_mixed.gguf");
    const auto backend = cuda();
    const model::Model model(reader, *backend);
    schedule::Session session(model, static_cast<int64_t>(ids.size()));
    const Matrix logits = session.logits(session.forward(ids));
    std::vector<float> host(static_cast<size_t>(logits.rows * logits.cols));
    backend->download(host.data(), logits.data, host.size() * sizeof(float));
    const auto expected = test::read_values<float>(folder + "logits_0_mixed_dequantized_f32.f32");
    ASSERT_EQ(expected.size(), host.size());
    double max = 0;
    for (size_t i = 0; i < host.size(); ++i) max = std::max(max, std::abs(double{host[i]} - expected[i]));
    EXPECT_LE(max, test::tolerance(name).max) << name;
  }
}

}  // namespace
}  // namespace steelyard::compute
