// Perplexity and divergence against what llama-perplexity printed (tests/golden/imatrix).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <regex>

#include "evaluate/divergence.h"
#include "evaluate/perplexity.h"
#include "support.h"

namespace steelyard {
namespace {

constexpr int64_t kCtx = 64;
constexpr int64_t kChunks = 16;

struct Evaluation {
  PerplexityResult perplexity;
  std::optional<DivergenceResult> divergence;
};

// Runs the golden text through `model_path`; with a base also measures divergence, with `write` writes one.
Evaluation evaluate(const std::string& model_path, const std::string& base_path = "", const std::string& write = "") {
  const gguf::Reader reader(model_path);
  const auto backend = make_backend("cpu");
  const Model model(reader, *backend);
  const Tokenizer tokenizer(reader.metadata());
  const std::string text = test::golden("imatrix/text.txt");
  const Chunks chunks(tokenize_file(tokenizer, text, false), kCtx, kChunks, chunk_bos(tokenizer), text);
  std::optional<DivergenceBase> base;
  std::optional<DivergenceMeter> divergence;
  if (!base_path.empty()) {
    base.emplace(base_path).require(chunks, model.config().n_vocab);
    divergence.emplace(*base);
  }
  std::optional<DivergenceBaseWriter> writer;
  if (!write.empty()) writer.emplace(write, chunks, model.config().n_vocab);
  PerplexityMeter perplexity(chunks);
  Session session(model, kCtx);
  score_chunks(session, *backend, chunks, model.config().n_vocab, [&](const ScoredLogits& rows) {
    perplexity.add(rows);
    if (divergence) divergence->add(rows);
    if (writer) writer->add(rows);
  });
  if (writer) writer->finish();
  return {perplexity.result(), divergence ? std::optional(divergence->result()) : std::nullopt};
}

class EvaluateGolden : public testing::TestWithParam<const char*> {
 protected:
  std::string folder_ = test::golden(std::string("imatrix/") + GetParam()) + "/";
  // The models themselves; the small one is also a model golden.
  std::string model_ = std::string(GetParam()) == "deepseek2" ? test::golden("models/deepseek2/model.gguf")
                                                              : folder_ + "model.gguf";
};

TEST_P(EvaluateGolden, RunningPerplexityAndStandardError) {
  const PerplexityResult result = evaluate(model_).perplexity;
  const std::string log = test::read_text(folder_ + "ppl_f32.txt");
  const std::regex entry("\\[(\\d+)\\]([0-9.]+)");
  size_t n = 0;
  for (std::sregex_iterator it(log.begin(), log.end(), entry), end; it != end; ++it, ++n) {
    const double golden = std::stod((*it)[2]);
    ASSERT_LT(n, result.running.size());
    EXPECT_NEAR(result.running[n] / golden, 1.0, 1e-6) << "chunk " << n + 1;
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
    const auto divergence = evaluate(folder_ + "model_" + type + ".gguf", folder_ + "kld_base_f32.bin").divergence;
    const std::string log = test::read_text(folder_ + "kld_" + type + "_weights_dequantized_to_f32.txt");
    std::smatch match;
    ASSERT_TRUE(std::regex_search(log, match, std::regex("Mean    KLD: *([0-9.]+) ± *([0-9.]+)"))) << type;
    EXPECT_NEAR(divergence->kld.mean, std::stod(match[1]), 2e-6) << type;
    EXPECT_NEAR(divergence->kld.standard_error, std::stod(match[2]), 2e-6) << type;
    EXPECT_NEAR(divergence->max_kld, exact[type]["max_kld_printed"].get<double>(), 1e-4) << type;
    EXPECT_NEAR(100 * divergence->same_top.mean, exact[type]["same_top_printed_pct"].get<double>(), 1e-3) << type;
    EXPECT_EQ(divergence->n_tokens, exact[type]["n_positions"].get<int64_t>()) << type;
  }
}

// Our base file holds the same header, tokens and log-probabilities as llama-perplexity's of the same run.
TEST_P(EvaluateGolden, WrittenBaseAgrees) {
  const test::TempFolder temp;
  evaluate(model_, "", temp / "base.bin");
  const DivergenceBase ours(temp / "base.bin"), golden(folder_ + "kld_base_f32.bin");
  EXPECT_EQ(ours.tokens(), golden.tokens());
  ASSERT_EQ(ours.n_vocab(), golden.n_vocab());
  std::vector<float> a(static_cast<size_t>(ours.n_vocab())), b(a.size());
  for (int64_t chunk = 0; chunk < golden.n_chunks(); ++chunk) {
    ours.log_probs(chunk, 5, a);
    golden.log_probs(chunk, 5, b);
    for (size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], 3e-4) << "chunk " << chunk << " token " << i;
  }
  const auto self = evaluate(model_, temp / "base.bin").divergence;
  EXPECT_LT(self->kld.mean, 1e-6);
  EXPECT_EQ(self->same_top.mean, 1.0);
}

INSTANTIATE_TEST_SUITE_P(Models, EvaluateGolden, testing::Values("deepseek2", "deepseek2_k256"));

}  // namespace
}  // namespace steelyard
