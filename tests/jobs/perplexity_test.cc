// The job perplexity: its figures and its report, what it says while it works, what an interruption leaves behind.
#include "jobs/perplexity.h"

#include <gmock/gmock.h>

#include <cmath>
#include <stdexcept>

#include "base/atomic_file.h"
#include "base/error.h"
#include "error_of.h"
#include "support.h"

namespace steelyard::jobs {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class PerplexityJob : public testing::Test {
 protected:
  PerplexityJob() {
    options_.model.model = test::golden("models/llama/model.gguf");
    options_.text = {.file = test::golden("imatrix/text.txt"), .ctx_size = 64, .chunks = 6};
  }

  static std::vector<std::string> keys(const PerplexityResult& result) {
    std::vector<std::string> names;
    const Json json = to_json(result);
    for (const auto& [name, value] : json.items()) names.push_back(name);
    return names;
  }

  std::string failure() const {
    return test::error_of([&] { perplexity(options_); });
  }

  bool folder_is_empty() const { return std::filesystem::is_empty(folder_ / ""); }

  const test::TempFolder folder_;
  PerplexityOptions options_;
};

TEST_F(PerplexityJob, TellsWhatItDoesAndReportsIt) {
  std::vector<std::string> stages;
  std::vector<double> running;
  const PerplexityResult result = perplexity(options_, [&](const Progress& progress) {
    stages.emplace_back(progress.stage);
    if (progress.stage != "chunks") return;
    running.push_back(progress.data.at("perplexity").get<double>());
    EXPECT_EQ(progress.done, std::ssize(running));
    EXPECT_EQ(progress.total, 6);
  });
  EXPECT_EQ(stages.front(), "plan");
  EXPECT_EQ(running, result.running);
  ASSERT_EQ(running.size(), 6u);
  EXPECT_DOUBLE_EQ(running.back(), result.perplexity);
  EXPECT_EQ(result.n_scored, 6 * 31);
  EXPECT_DOUBLE_EQ(result.perplexity, std::exp(result.mean_nll));
  EXPECT_THAT(keys(result), ElementsAre("model", "text", "n_ctx", "n_chunks", "perplexity", "standard_error",
                                        "mean_nll", "n_scored", "running"));
}

TEST_F(PerplexityJob, BothOrdersGiveTheSameFigures) {
  options_.sweep.order = "token";
  const PerplexityResult token = perplexity(options_);
  options_.sweep.order = "layer";
  int64_t layers = 0;
  const PerplexityResult layer = perplexity(options_, [&](const Progress& progress) {
    if (progress.stage != "layers") return;
    EXPECT_GT(progress.done, layers);
    layers = progress.done;
    EXPECT_LE(layers, progress.total);
  });
  EXPECT_GT(layers, 0);
  EXPECT_EQ(to_json(token), to_json(layer));
  options_.sweep.order = "sideways";
  EXPECT_THAT(failure(), HasSubstr("expected layer or token"));
}

// A base is compared with the model that it was written with.
TEST_F(PerplexityJob, DivergenceAndRouters) {
  options_.model.model = test::golden("models/deepseek2/model.gguf");
  options_.kl_divergence_base = folder_ / "base";
  const PerplexityResult written = perplexity(options_);
  EXPECT_FALSE(written.divergence.has_value());
  options_.kl_divergence = true;
  options_.text.file = "";  // the base has it
  const PerplexityResult compared = perplexity(options_);
  EXPECT_EQ(compared.running, written.running);
  ASSERT_TRUE(compared.divergence && compared.router_agreement);
  EXPECT_NEAR(compared.divergence->mean_kld.mean, 0, 1e-3);
  EXPECT_GE(compared.divergence->kld.max, compared.divergence->kld.p99);
  EXPECT_GE(compared.divergence->kld.p1, compared.divergence->kld.min);
  EXPECT_EQ(compared.router_agreement->all.same_set.mean, 1);
  EXPECT_EQ(compared.router_agreement->all.overlap, 1);
  const Json json = to_json(compared);
  EXPECT_EQ(json["text"], "");
  EXPECT_EQ(json["median_kld"], json["kld"]["median"]);
  EXPECT_EQ(json["kld"].size(), 13u);
  EXPECT_EQ(json["router_agreement"]["layers"].size(), compared.router_agreement->layers.size());
  EXPECT_TRUE(json["router_agreement"]["layers"][0].contains("layer"));
  EXPECT_FALSE(json["router_agreement"].contains("layer"));
}

// The dumped logits give the same perplexity.
TEST_F(PerplexityJob, OneSequence) {
  const std::vector<int> ids = {1, 5, 7, 9, 200, 2, 44};
  options_.text = {};
  options_.tokens = folder_ / "ids.json";
  options_.dump_logits = folder_ / "logits";
  write_file(options_.tokens, Json(ids).dump());
  int64_t done = 0;
  const PerplexityResult result = perplexity(options_, [&](const Progress& progress) {
    EXPECT_EQ(progress.stage, "tokens");
    done = progress.done;
  });
  EXPECT_EQ(done, std::ssize(ids));
  EXPECT_EQ(result.n_scored, 6);
  EXPECT_THAT(keys(result), ElementsAre("model", "n_tokens", "perplexity", "mean_nll"));
  const std::vector<float> logits = test::read_values<float>(options_.dump_logits);
  ASSERT_EQ(logits.size() % ids.size(), 0u);
  const size_t n_vocab = logits.size() / ids.size();
  double nll = 0;
  for (size_t i = 0; i + 1 < ids.size(); ++i) {
    double sum = 0;
    for (size_t v = 0; v < n_vocab; ++v) sum += std::exp(logits[i * n_vocab + v]);
    nll += std::log(sum) - logits[i * n_vocab + static_cast<size_t>(ids[i + 1])];
  }
  EXPECT_NEAR(result.mean_nll, nll / 6, 1e-5);

  write_file(options_.tokens, "[1, \"a\"]");
  EXPECT_THAT(failure(), HasSubstr("element 1 is not a token id"));
}

TEST_F(PerplexityJob, NoiseFloor) {
  options_.self_check = true;
  Json plan;
  const PerplexityResult result = perplexity(options_, [&](const Progress& progress) {
    if (progress.stage == "plan") plan = progress.data;
  });
  EXPECT_EQ(plan["n_piece"], 64 / 7 + 1);
  ASSERT_TRUE(result.divergence.has_value());
  EXPECT_LT(std::abs(result.divergence->mean_kld.mean), 1e-6);
  EXPECT_FALSE(to_json(result).contains("running"));
}

TEST_F(PerplexityJob, InterruptedItLeavesNothingBehind) {
  options_.kl_divergence_base = folder_ / "base";
  const auto interrupt = [](const Progress& progress) {
    if (progress.stage == "chunks" && progress.done == 3) throw std::runtime_error("enough");
  };
  EXPECT_THROW(perplexity(options_, interrupt), std::runtime_error);
  EXPECT_TRUE(folder_is_empty());
  options_.kl_divergence_base = "";
  options_.tokens = folder_ / "ids.json";
  options_.text = {};
  options_.dump_logits = folder_ / "logits";
  write_file(options_.tokens, "[1, 2, 3]");
  EXPECT_THROW(perplexity(options_, [](const Progress&) { throw std::runtime_error("enough"); }), std::runtime_error);
  EXPECT_FALSE(std::filesystem::exists(options_.dump_logits));
}

TEST_F(PerplexityJob, GoesOnAfterAnInterruption) {
  options_.sweep = {.order = "token", .batch_size = 64};
  const PerplexityResult whole = perplexity(options_);
  options_.resume = {.resume = folder_ / "progress", .save_every = 0};
  const auto interrupt = [](const Progress& progress) {
    if (progress.stage == "chunks" && progress.done == 4) throw std::runtime_error("enough");
  };
  EXPECT_THROW(perplexity(options_, interrupt), std::runtime_error);
  const PerplexityResult resumed = perplexity(options_);
  EXPECT_EQ(resumed.resumed_chunks, 3);
  EXPECT_EQ(to_json(resumed), to_json(whole));
  EXPECT_TRUE(folder_is_empty());
  // Somebody who could not write the figures down asks for them again.
  EXPECT_THROW(perplexity(options_, {}, [](const PerplexityResult&) { throw Error("", "the disk is full"); }), Error);
  EXPECT_EQ(perplexity(options_).resumed_chunks, whole.n_chunks);
  EXPECT_TRUE(folder_is_empty());
}

TEST_F(PerplexityJob, OptionsAreJson) {
  options_.kl_divergence_base = "base";
  options_.sweep.memory = 5;
  PerplexityOptions read;
  read_json(to_json(options_), read, "options");
  EXPECT_EQ(to_json(read), to_json(options_));
  EXPECT_EQ(read.text.chunks, 6);
  EXPECT_THROW(read_json({{"kl_divergance", true}}, read, "options"), Error);
  EXPECT_THROW(read_json({{"kl_divergence", "yes"}}, read, "options"), Error);
}

TEST_F(PerplexityJob, RefusesBeforeTheWork) {
  const PerplexityOptions good = options_;
  const auto expect = [&](const char* reason, const auto& change) {
    options_ = good;
    change(options_);
    EXPECT_THAT(failure(), HasSubstr(reason));
  };
  expect("needs --kl-divergence-base", [](auto& options) { options.kl_divergence = true; });
  expect("--ppl-stride and --kl-divergence-base cannot", [](auto& options) {
    options.text.ppl_stride = 8;
    options.kl_divergence_base = "base";
  });
  expect("--self-check and --kl-divergence-base cannot", [](auto& options) {
    options.self_check = true;
    options.kl_divergence_base = "base";
  });
  expect("needs --tokens", [](auto& options) { options.dump_logits = "logits"; });
  expect("--file and --tokens cannot be combined", [](auto& options) { options.tokens = "ids.json"; });
  expect("expected compact or llama", [](auto& options) { options.kl_divergence_base_format = "tall"; });
  expect("is also the input", [](auto& options) { options.kl_divergence_base = options.text.file; });
  expect("absent", [&](auto& options) { options.resume.resume = folder_ / "absent/progress"; });
  expect("no text given", [](auto& options) { options.text.file = ""; });
  expect("exceeds the model's", [](auto& options) { options.text.ctx_size = 300; });
  EXPECT_TRUE(folder_is_empty());
}

// What a kind of run does not do is refused, before the model is opened.
TEST_F(PerplexityJob, RefusesWhatAKindOfRunIgnores) {
  const PerplexityOptions good = options_;
  const auto expect = [&](const std::string& reason, const auto& change) {
    options_ = good;
    change(options_);
    EXPECT_EQ(failure(), reason);
  };
  const auto self_check = [](auto change) {
    return [change](PerplexityOptions& options) { options.self_check = true, change(options); };
  };
  expect("--order: no effect with --self-check", self_check([](auto& options) { options.sweep.order = "layer"; }));
  expect("--memory, --batch-size: no effect with --self-check",
         self_check([](auto& options) { options.sweep = {.memory = uint64_t{1} << 30, .batch_size = 5}; }));
  expect("--resume: no effect with --self-check",
         self_check([&](auto& options) { options.resume.resume = folder_ / "p"; }));
  const auto tokens = [](auto change) {
    return [change](PerplexityOptions& options) { options.text = {}, options.tokens = "ids.json", change(options); };
  };
  expect("--kl-divergence-base: no effect with --tokens",
         tokens([&](auto& options) { options.kl_divergence_base = folder_ / "b"; }));
  expect("--self-check: no effect with --tokens", tokens([](auto& options) { options.self_check = true; }));
  expect("--chunks: no effect with --tokens", tokens([](auto& options) { options.text.chunks = 3; }));
  expect("--ppl-stride: no effect with --tokens", tokens([](auto& options) { options.text.ppl_stride = 3; }));
  expect("--save-every: no effect without --resume", [](auto& options) { options.resume.save_every = 1; });
  expect("--kl-divergence-base-format: no effect without --kl-divergence-base",
         [](auto& options) { options.kl_divergence_base_format = "llama"; });
  EXPECT_TRUE(folder_is_empty());
}

}  // namespace
}  // namespace steelyard::jobs
