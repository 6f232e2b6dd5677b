// Perplexity and divergence against what llama-perplexity printed (tests/golden/imatrix).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <regex>

#include "evaluate/divergence.h"
#include "evaluate/evaluation.h"
#include "evaluate/llama_base.h"
#include "evaluate/perplexity.h"
#include "gguf/reader.h"
#include "support.h"

namespace steelyard::evaluate {
namespace {

constexpr int64_t kCtx = 64;
constexpr int64_t kChunks = 16;

struct Figures {
  PerplexityResult perplexity;
  std::vector<double> running;
  std::optional<DivergenceResult> divergence;
  std::vector<RouterCounts> routers;
};

// Runs the golden text through `model_path`; with a base also measures divergence, with `write` writes one.
Figures evaluate_text(const std::string& model_path, const std::string& base_path = "", const std::string& write = "",
                      BaseLayout layout = BaseLayout::kCompact, int64_t n_batch = 256) {
  const gguf::Reader reader(model_path);
  const auto backend = compute::make_backend("cpu");
  const model::Model model(reader, *backend);
  const tokenizer::Tokenizer tokenizer(reader.metadata());
  const ModelIdentity identity = model_identity(reader, model.config(), tokenizer);
  const std::string text = test::golden("imatrix/text.txt");
  const tokenizer::Chunks chunks(tokenize_file(tokenizer, text, false), kCtx, kChunks, chunk_bos(tokenizer), text);
  const auto base = base_path.empty() ? nullptr : DivergenceBase::open(base_path);
  if (base) base->require(chunks, identity);
  EvaluationOptions options;
  options.sweep.n_batch = n_batch;
  options.base_path = write;
  options.write_base = !write.empty();
  options.layout = layout;
  const EvaluationResult result = evaluate(model, identity, chunks, base.get(), options, [](auto) {});
  Figures figures{perplexity(result.scores), running_perplexity(result.scores, chunks.n_scored()), {}, result.routers};
  if (base) figures.divergence = divergence(result.scores);
  return figures;
}

class EvaluateGolden : public testing::TestWithParam<const char*> {
 protected:
  std::string folder_ = test::golden(std::string("imatrix/") + GetParam()) + "/";
  // The models themselves; the small ones are also model goldens.
  std::string model_ = std::string(GetParam()).ends_with("_k256")
                           ? folder_ + "model.gguf"
                           : test::golden(std::string("models/") + GetParam() + "/model.gguf");
};

TEST_P(EvaluateGolden, RunningPerplexityAndStandardError) {
  const auto [result, running, divergence, routers] = evaluate_text(model_);
  const std::string log = test::read_text(folder_ + "ppl_f32.txt");
  const std::regex entry("\\[(\\d+)\\]([0-9.]+)");
  size_t n = 0;
  for (std::sregex_iterator it(log.begin(), log.end(), entry), end; it != end; ++it, ++n) {
    const double golden = std::stod((*it)[2]);
    ASSERT_LT(n, running.size());
    EXPECT_NEAR(running[n] / golden, 1.0, 1e-6) << "chunk " << n + 1;
  }
  EXPECT_EQ(n, static_cast<size_t>(kChunks));
  std::smatch match;
  ASSERT_TRUE(std::regex_search(log, match, std::regex("PPL = ([0-9.]+) \\+/- ([0-9.]+)")));
  EXPECT_NEAR(result.perplexity / std::stod(match[1]), 1.0, 1e-6);
  EXPECT_NEAR(result.standard_error / std::stod(match[2]), 1.0, 1e-5);
}

TEST_P(EvaluateGolden, DivergenceOfQuantizedModels) {
  const auto exact = nlohmann::json::parse(test::read_text(folder_ + "kld_exact.json"));
  for (const char* type : {"Q4_K", "Q8_0", "Q4_0"}) {
    const auto divergence = evaluate_text(folder_ + "model_" + type + ".gguf", folder_ + "kld_base_f32.bin").divergence;
    const std::string log = test::read_text(folder_ + "kld_" + type + "_weights_dequantized_to_f32.txt");
    std::smatch match;
    ASSERT_TRUE(std::regex_search(log, match, std::regex("Mean    KLD: *([0-9.]+) ± *([0-9.]+)"))) << type;
    EXPECT_NEAR(divergence->kld.mean, std::stod(match[1]), 2e-6) << type;
    EXPECT_NEAR(divergence->kld.standard_error, std::stod(match[2]), 2e-6) << type;
    EXPECT_NEAR(divergence->klds.at(1), exact[type]["max_kld_printed"].get<double>(), 1e-4) << type;
    EXPECT_NEAR(100 * divergence->same_top.mean, exact[type]["same_top_printed_pct"].get<double>(), 1e-3) << type;
    EXPECT_EQ(divergence->n_tokens, exact[type]["n_positions"].get<int64_t>()) << type;
  }
}

// What llama-perplexity prints at its end, label by label.
TEST_P(EvaluateGolden, AllStatistics) {
  for (const char* type : {"Q4_K", "Q8_0", "Q4_0"}) {
    const auto result = evaluate_text(folder_ + "model_" + type + ".gguf", folder_ + "kld_base_f32.bin").divergence;
    const std::string log = test::read_text(folder_ + "kld_" + type + "_weights_dequantized_to_f32.txt");
    const auto expect = [&](const std::string& label, double value, double tolerance, double error = -1) {
      std::smatch match;
      ASSERT_TRUE(std::regex_search(log, match, std::regex(label + " *: *(-?[0-9.]+)%?(?: *± *([0-9.]+))?"))) << label;
      EXPECT_NEAR(value, std::stod(match[1]), tolerance) << type << " " << label;
      if (error >= 0) {
        EXPECT_NEAR(error, std::stod(match[2]), tolerance) << type << " error of " << label;
      }
    };
    const double ppl = result->base_perplexity.mean;
    expect("Mean PPL\\(base\\)", ppl, 2e-6 * ppl, result->base_perplexity.standard_error);
    expect("Cor\\(ln\\(PPL\\(Q\\)\\), ln\\(PPL\\(base\\)\\)\\)", 100 * result->correlation, 0.011);
    expect("Mean ln\\(PPL\\(Q\\)/PPL\\(base\\)\\)", result->log_ratio.mean, 2e-6, result->log_ratio.standard_error);
    expect("Mean PPL\\(Q\\)/PPL\\(base\\)", result->ratio.mean, 2e-6, result->ratio.standard_error);
    expect("Mean PPL\\(Q\\)-PPL\\(base\\)", result->difference.mean, 2e-6 * ppl, result->difference.standard_error);
    expect("Mean    Δp", 100 * result->delta_p.mean, 2e-3, 100 * result->delta_p.standard_error);
    expect("RMS Δp ", 100 * result->rms_delta_p.mean, 2e-3, 100 * result->rms_delta_p.standard_error);
    expect("Same top p", 100 * result->same_top.mean, 2e-3, 100 * result->same_top.standard_error);
    const std::pair<const char*, double> fractions[] = {
        {"Maximum", 1},  {"99.9%  ", .999}, {"99.0%  ", .99}, {"95.0%  ", .95},  {"90.0%  ", .9}, {"Median ", .5},
        {"10.0%  ", .1}, {" 5.0%  ", .05},  {" 1.0%  ", .01}, {" 0.1%  ", .001}, {"Minimum", 0}};
    for (const auto& [label, fraction] : fractions) {
      expect(std::string(label) + " KLD", result->klds.at(fraction), 1e-4);
      expect(std::string(label) + " Δp", 100 * result->delta_ps.at(fraction), 1e-2);
    }
    expect("75.0%   Δp", 100 * result->delta_ps.at(0.75), 1e-2);
    expect("25.0%   Δp", 100 * result->delta_ps.at(0.25), 1e-2);
  }
}

// Our base in llama-perplexity's layout holds the same header, tokens and log-probabilities as its own of the same run.
TEST_P(EvaluateGolden, WrittenLlamaBaseAgrees) {
  const test::TempFolder temp;
  evaluate_text(model_, "", temp / "base.bin", BaseLayout::kLlama);
  const LlamaBase ours(MappedFile(temp / "base.bin")), golden(MappedFile(folder_ + "kld_base_f32.bin"));
  EXPECT_EQ(std::filesystem::file_size(temp / "base.bin"), std::filesystem::file_size(folder_ + "kld_base_f32.bin"));
  EXPECT_EQ(ours.tokens(), golden.tokens());
  ASSERT_EQ(ours.n_vocab(), golden.n_vocab());
  std::vector<float> a(static_cast<size_t>(ours.n_vocab())), b(a.size());
  for (int64_t chunk = 0; chunk < golden.n_chunks(); ++chunk) {
    ours.log_probs(chunk, 5, a);
    golden.log_probs(chunk, 5, b);
    for (size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], 3e-4) << "chunk " << chunk << " token " << i;
  }
  // Of a model from itself the rounding of codes remains: at most half a step of 16 / 65535, of either sign.
  const auto self = evaluate_text(model_, temp / "base.bin").divergence;
  EXPECT_LT(self->klds.at(1), 1.23e-4);
  EXPECT_GT(self->klds.at(0), -1.23e-4);
  EXPECT_LT(std::abs(self->kld.mean), 3 * self->kld.standard_error);
  EXPECT_LT(self->kld.standard_error, 1e-6);
  EXPECT_EQ(self->same_top.mean, 1.0);
}

// The compact base gives the figures of the complete one, and more exactly: it does not round to 16 bits.
TEST_P(EvaluateGolden, CompactBaseGivesTheSameFigures) {
  const test::TempFolder temp;
  evaluate_text(model_, "", temp / "base.kld");
  const Figures self = evaluate_text(model_, temp / "base.kld");
  EXPECT_LT(std::abs(self.divergence->kld.mean), 1e-7);
  EXPECT_LT(self.divergence->klds.at(1), 1e-6);
  EXPECT_NEAR(self.divergence->ratio.mean, 1, 1e-6);
  ASSERT_FALSE(self.routers.empty());
  for (const RouterCounts& layer : self.routers) {
    EXPECT_EQ(layer.n_tokens, kChunks * (kCtx / 2 - 1));
    EXPECT_EQ(layer.n_same, layer.n_tokens);
  }
  const double base_ppl = self.perplexity.perplexity;
  for (const char* type : {"Q4_K", "Q8_0", "Q4_0"}) {
    const std::string path = folder_ + "model_" + type + ".gguf";
    const Figures compact = evaluate_text(path, temp / "base.kld");
    const Figures complete = evaluate_text(path, folder_ + "kld_base_f32.bin");
    const DivergenceResult &a = *compact.divergence, &b = *complete.divergence;
    EXPECT_NEAR(a.kld.mean, b.kld.mean, 2e-6 + 4 * a.kld_sampling_error) << type;
    EXPECT_LT(a.kld_sampling_error, 1e-4) << type;
    // Exact, where the other base clips unlikely tokens.
    EXPECT_NEAR(a.base_perplexity.mean / base_ppl, 1, 1e-6) << type;
    EXPECT_EQ(a.same_top.mean, b.same_top.mean) << type;
    for (const RouterCounts& layer : compact.routers) {
      if (std::string(type) == "Q4_K") {
        EXPECT_LT(layer.n_same, layer.n_tokens);
      }
      EXPECT_GT(layer.n_shared, layer.n_tokens) << type;
    }
  }
}

// Pieces, whole chunks and several chunks per batch give one result.
TEST_P(EvaluateGolden, BatchesOfAnySizeAgree) {
  const auto whole = evaluate_text(model_, "", "", BaseLayout::kCompact, 64);
  for (const int64_t n_batch : {5, 200, 4096}) {
    const auto other = evaluate_text(model_, "", "", BaseLayout::kCompact, n_batch);
    ASSERT_EQ(other.running.size(), whole.running.size());
    for (size_t i = 0; i < whole.running.size(); ++i) {
      EXPECT_NEAR(other.running[i] / whole.running[i], 1, 1e-6) << "batch " << n_batch << " chunk " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, EvaluateGolden,
                         testing::Values("deepseek2", "deepseek2_k256", "qwen3moe", "qwen3moe_k256"));

}  // namespace
}  // namespace steelyard::evaluate
