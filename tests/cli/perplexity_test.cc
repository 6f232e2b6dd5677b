// What perplexity does beyond a plain run: strides, batches, tasks, the noise floor, going on after an interruption.
// The figures of tasks and strides are those that llama-perplexity printed for the same files.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "cli/failure.h"

namespace steelyard::test {
namespace {

class Perplexity : public FailureTest {
 protected:
  nlohmann::json report(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"perplexity", "--json", folder_ / "report.json"});
    const CommandResult result = run(arguments);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    out_text_ = result.out;
    return nlohmann::json::parse(read_text(folder_ / "report.json"));
  }

  std::string out_text_;
  const std::string hellaswag_ = golden("choice/hellaswag.txt"), winogrande_ = golden("choice/winogrande.csv"),
                    multiple_choice_ = golden("choice/multiple-choice.bin");
};

// llama-perplexity --hellaswag, its running shares of right answers.
TEST_F(Perplexity, HellaSwag) {
  const auto figures = report({"-m", llama_, "--hellaswag", "-f", hellaswag_, "-c", "256"});
  const double golden[] = {0,  50,          33.33333333, 25,          40, 33.33333333, 28.57142857,
                           25, 33.33333333, 30,          27.27272727, 25, 30.76923077, 35.71428571};
  ASSERT_EQ(figures["results"].size(), std::size(golden));
  int correct = 0;
  for (size_t i = 0; i < std::size(golden); ++i) {
    correct += figures["results"][i]["correct"].get<bool>();
    EXPECT_NEAR(100.0 * correct / static_cast<double>(i + 1), golden[i], 1e-6) << "task " << i + 1;
  }
  EXPECT_NEAR(figures["interval"][0].get<double>(), 0.163447, 1e-6);
  EXPECT_NEAR(figures["interval"][1].get<double>(), 0.612356, 1e-6);
  EXPECT_NE(out_text_.find("Final HellaSwag score(14 tasks): 35.7143"), std::string::npos) << out_text_;
  EXPECT_EQ(report({"-m", llama_, "--hellaswag", "-f", hellaswag_, "-c", "256", "--hellaswag-tasks", "5"})["score"],
            0.4);
}

// llama-perplexity --winogrande, its scores of both words.
TEST_F(Perplexity, Winogrande) {
  const auto figures = report({"-m", llama_, "--winogrande", "-f", winogrande_, "-c", "256"});
  const double golden[][2] = {{-8.116756, -8.055025},   {-6.590083, -13.364302}, {-8.165541, -7.500165},
                              {-7.793439, -8.357499},   {-8.277353, -8.642363},  {-8.545438, -9.069261},
                              {-12.778503, -13.173467}, {-8.492686, -8.742257},  {-8.399008, -7.602159},
                              {-7.114100, -10.838652},  {-8.785264, -8.851693},  {-7.982079, -8.167939},
                              {-12.778503, -13.173467}, {-8.706196, -8.603842}};
  const auto& results = figures["results"];
  ASSERT_EQ(results.size(), std::size(golden));
  for (size_t i = 0; i < std::size(golden); ++i) {
    EXPECT_NEAR(results[i]["log_likelihoods"][0].get<double>(), golden[i][0], 2e-5) << "task " << i + 1;
    EXPECT_NEAR(results[i]["log_likelihoods"][1].get<double>(), golden[i][1], 2e-5) << "task " << i + 1;
  }
}

TEST_F(Perplexity, MultipleChoice) {
  const auto figures = report({"-m", llama_, "--multiple-choice", "-f", multiple_choice_, "-c", "256"});
  ASSERT_EQ(figures["n_tasks"], 14);
  for (int i = 0; i < 14; ++i) EXPECT_EQ(figures["results"][i]["correct"], i == 12) << "task " << i + 1;
  const auto drawn =
      report({"-m", llama_, "--multiple-choice", "-f", multiple_choice_, "-c", "256", "--multiple-choice-tasks", "5"});
  for (int i = 0; i < 5; ++i) EXPECT_EQ(drawn["results"][i]["correct"], i == 1) << "task " << i + 1;
}

TEST_F(Perplexity, BatchesDoNotChangeScoresOfTasks) {
  const auto one = report({"-m", llama_, "--winogrande", "-f", winogrande_, "-c", "256", "-b", "1"});
  const auto many = report({"-m", llama_, "--winogrande", "-f", winogrande_, "-c", "256"});
  for (size_t i = 0; i < 14; ++i) {
    for (size_t a = 0; a < 2; ++a) {
      EXPECT_NEAR(one["results"][i]["log_likelihoods"][a].get<double>(),
                  many["results"][i]["log_likelihoods"][a].get<double>(), 1e-4);
    }
  }
}

TEST_F(Perplexity, BadTasks) {
  const auto expect = [&](const std::string& kind, const std::string& content, const std::string& reason) {
    expect_fails({"perplexity", "-m", llama_, kind, "-f", file("tasks", content), "-c", "256", "--json", out_}, reason);
  };
  expect("--hellaswag", "", "has 0 lines");
  expect("--hellaswag", "a\n1\nb\nc\nd\n", "has 5 lines, expected a multiple of 6");
  expect("--hellaswag", "a\n4\nb\nc\nd\ne\n", "line 2 is 4, expected the number of an ending");
  expect("--hellaswag", "a\nx\nb\nc\nd\ne\n", "line 2 is x");
  expect("--hellaswag", std::string(300, 'z') + "\n1\nb\nc\nd\ne\n", "more than the context of 256");
  expect("--winogrande", "", "no tasks");
  expect("--winogrande", "0,a _ b,c,d\n", "line 1 has 4 fields, expected 5");
  expect("--winogrande", "0,a b,c,d,1\n", "no _");
  expect("--winogrande", "0,a _ b,c,d,3\n", "answer 3, expected 1 or 2");
  const std::string bytes = read_text(multiple_choice_);
  for (const size_t n : {0u, 3u, 4u, 20u, 100u, 1000u}) expect("--multiple-choice", bytes.substr(0, n), "tasks");
  for (const size_t at : {0u, 60u, 61u, 62u, 63u}) {
    std::string changed = bytes;
    changed[at] = '\xff';
    expect("--multiple-choice", changed, "tasks");
  }
  expect_fails({"perplexity", "-m", llama_, "--hellaswag", "--winogrande", "-f", text_}, "give one of");
  expect_fails({"perplexity", "-m", llama_, "--hellaswag"}, "no task file given");
}

// llama-perplexity -c 64 -b 64 --ppl-stride 32, which makes chunks of 256.
TEST_F(Perplexity, Strides) {
  const auto figures = report({"-m", llama_, "-f", text_, "-c", "64", "--ppl-stride", "32", "--chunks", "9"});
  const double golden[] = {12173.8099, 10023.7833, 8772.7538, 7585.3027, 6435.5458,
                           7671.5464,  7583.2084,  7384.0514, 8499.2993};
  EXPECT_EQ(figures["n_ctx"], 256);
  EXPECT_EQ(figures["n_scored"], 9 * 32);
  for (size_t i = 0; i < std::size(golden); ++i) {
    EXPECT_NEAR(figures["running"][i].get<double>() / golden[i], 1, 1e-6) << "chunk " << i + 1;
  }
}

TEST_F(Perplexity, SelfCheck) {
  const auto figures = report({"-m", deepseek_, "-f", text_, "-c", "64", "--chunks", "8", "--self-check"});
  EXPECT_LT(std::abs(figures["mean_kld"].get<double>()), 1e-7);
  EXPECT_LT(figures["max_kld"].get<double>(), 1e-5);
  EXPECT_NEAR(figures["same_top"].get<double>(), 1, 0.01);
  EXPECT_NE(out_text_.find("Noise floor: mean KLD"), std::string::npos);
}

TEST_F(Perplexity, BadFlags) {
  const std::vector<std::string> common = {"perplexity", "-m", llama_, "-f", text_, "-c", "64"};
  const auto expect = [&](std::vector<std::string> flags, const std::string& reason) {
    flags.insert(flags.begin(), common.begin(), common.end());
    expect_fails(flags, reason);
  };
  expect({"-b", "0"}, "--batch-size is 0");
  expect({"-b", "-5"}, "--batch-size is -5");
  expect({"--ppl-stride", "-1"}, "stride is -1, expected 1 to 64");
  expect({"--ppl-stride", "65"}, "stride is 65, expected 1 to 64");
  expect({"--ppl-stride", "8", "--kl-divergence-base", out_}, "--ppl-stride and --kl-divergence-base cannot");
  expect({"--self-check", "--kl-divergence-base", out_}, "--self-check and --kl-divergence-base cannot");
  expect({"--kl-divergence-base", out_, "--kl-divergence-base-format", "tall"}, "--kl-divergence-base-format");
  expect({"--resume", folder_ / "absent/progress"}, "absent/progress");
  expect({"--resume", file("progress", "something else")}, "is not the progress of an evaluation");
  expect_fails({"perplexity", "-m", llama_, "-f", text_, "-c", "300"}, "exceeds the model's");
}

// Killed in the middle, gone on with: the same figures.
TEST_F(Perplexity, KilledAndResumed) {
  const std::string model = std::string(STEELYARD_SOURCE_DIR) + "/tests/models/glm-flash-tiny-bf16.gguf";
  const std::string text = std::string(STEELYARD_SOURCE_DIR) + "/tests/text/heldout.txt";
  const std::vector<std::string> common = {"perplexity", "-m", model, "-f",       text, "-c",
                                           "128",        "-b", "128", "--chunks", "24"};
  auto with = [&](std::vector<std::string> flags) {
    flags.insert(flags.begin(), common.begin(), common.end());
    return flags;
  };
  const CommandResult whole = run(with({"--json", folder_ / "whole.json"}));
  ASSERT_EQ(whole.exit_code, 0) << whole.err;
  CommandLimits limits;
  limits.seconds = 1;  // may end before or after the first progress is written: both must work
  run(with({"--resume", folder_ / "progress", "--json", folder_ / "resumed.json"}), limits);
  const CommandResult resumed = run(with({"--resume", folder_ / "progress", "--json", folder_ / "resumed.json"}));
  ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
  EXPECT_EQ(read_text(folder_ / "resumed.json"), read_text(folder_ / "whole.json"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "progress"));
}

}  // namespace
}  // namespace steelyard::test
