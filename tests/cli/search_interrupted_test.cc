// A search that is killed at random moments: with --resume it ends in the same plan, whatever was killed, and leaves
// only its progress behind. STEELYARD_KILLS sets the number of kills.
#include <chrono>
#include <random>
#include <thread>

#include "cli/failure.h"

namespace steelyard::test {
namespace {

using Words = std::vector<std::string>;

class SearchInterrupted : public FailureTest {
 protected:
  void expect_the_same_plan(const std::string& model, const std::string& bpw, const Words& more) {
    const std::string plan = folder_ / "found.plan", state = folder_ / "state";
    const auto command = [&](const Words& words) {
      Words all = {"search",
                   model,
                   "Q4_0",
                   "-f",
                   text_,
                   "-c",
                   "64",
                   "--chunks",
                   "16",
                   "--held-out",
                   "4",
                   "-o",
                   plan,
                   "--bpw",
                   bpw,
                   "--types",
                   "Q4_0,Q5_0,Q6_K,Q8_0",
                   "--rounds",
                   "2",
                   "-t",
                   "2"};
      all.insert(all.end(), more.begin(), more.end());
      all.insert(all.end(), words.begin(), words.end());
      return all;
    };
    const auto begin = std::chrono::steady_clock::now();
    const CommandResult whole = run(command({}));
    ASSERT_EQ(whole.exit_code, 0) << whole.err;
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    const std::string expected = read_text(plan);
    for (int i = 0; i < kills(3); ++i) {
      std::filesystem::remove(plan);
      std::filesystem::remove(state);
      int n_kept = 0;
      for (int k = 0; k <= i % 3; ++k) {  // killed again and again
        BackgroundCommand at_work(with_binary(command({"--resume", state})));
        std::this_thread::sleep_for(
            std::chrono::duration<double>(seconds * std::uniform_real_distribution<>(0, 1)(random_)));
        at_work.kill();
        n_kept += has_progress(state);
      }
      const CommandResult resumed = run(command({"--resume", state}));
      ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
      EXPECT_EQ(read_text(plan), expected) << "kill " << i << ", progress was kept " << n_kept << " times";
      for (const auto& [path, content] : files()) {
        const bool temporary = path.ends_with(".tmp");  // a killed run's, which has the process's number in its name
        EXPECT_TRUE(temporary || path == plan || path == state || path.ends_with("imatrix.gguf")) << path;
        if (temporary) std::filesystem::remove(path);
      }
    }
  }

  std::mt19937 random_{20250101};
  const std::string text_ = std::string(STEELYARD_SOURCE_DIR) + "/calibration/default.txt";
};

TEST_F(SearchInterrupted, Calibrated) { expect_the_same_plan(llama_, "7", {}); }

TEST_F(SearchInterrupted, WithExperts) { expect_the_same_plan(golden("models/deepseek3/model.gguf"), "9", {}); }

TEST_F(SearchInterrupted, WithAnImatrix) {
  const std::string imatrix = folder_ / "imatrix.gguf";
  const CommandResult made = run({"imatrix", "-m", llama_, "-f", text_, "-c", "64", "--chunks", "12", "-o", imatrix});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  expect_the_same_plan(llama_, "7", {"--imatrix", imatrix});
}

}  // namespace
}  // namespace steelyard::test
