// Tuning that is killed at random moments: with --resume it ends in the bytes of an uninterrupted run, and leaves
// nothing behind. STEELYARD_KILLS sets the number of kills.
#include <chrono>
#include <functional>
#include <random>
#include <thread>

#include "cli/failure.h"

namespace steelyard::test {
namespace {

using Words = std::vector<std::string>;

class TuneInterrupted : public FailureTest {
 protected:
  static CommandResult succeed(const Words& words) {
    CommandResult result = run(words);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result;
  }

  // Kills `command` at random moments of its time, every other time after it has kept its first progress, and lets it
  // end with --resume; `out` must have these bytes. continues: whether a run's output says that it used the progress.
  void kill_and_resume(const Words& command, const std::string& out, const std::string& progress,
                       const std::string& whole, double seconds,
                       const std::function<bool(const std::string&)>& continues) {
    int went_on = 0;
    for (int i = 0; i < kills(5); ++i) {
      {
        BackgroundCommand at_work(with_binary(command));
        const bool after_progress = i % 2 == 1;
        if (!after_progress || at_work.wait_for([&] { return has_progress(progress); })) {
          const double most = after_progress ? seconds / 4 : seconds;
          std::this_thread::sleep_for(
              std::chrono::duration<double>(most * std::uniform_real_distribution<>(0, 1)(random_)));
        }
        at_work.kill();
      }
      if (i % 3 == 2) {  // sometimes the resumed run is killed, too
        BackgroundCommand at_work(with_binary(command));
        std::this_thread::sleep_for(std::chrono::duration<double>(seconds / 3));
        at_work.kill();
      }
      const bool is_kept = has_progress(progress);
      if (is_kept || !std::filesystem::exists(out)) {
        const CommandResult result = succeed(command);
        EXPECT_TRUE(is_kept || !continues(result.out)) << result.out;
        went_on += continues(result.out);
      }
      ASSERT_TRUE(read_text(out) == whole) << "kill " << i;
      for (const auto& [path, content] : files()) {
        const bool temporary = path.ends_with(".tmp");  // a killed run's, which has the process's number in its name
        EXPECT_TRUE(temporary || path == out || path.ends_with("whole.gguf") || path.ends_with("model.gguf")) << path;
        if (temporary || path == out) std::filesystem::remove(path);
      }
    }
    EXPECT_GT(went_on, 0);
  }

  template <typename Action>
  static double seconds_of(const Action& action) {
    const auto begin = std::chrono::steady_clock::now();
    action();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }

  std::mt19937 random_{20250101};
  const std::string text_ = std::string(STEELYARD_SOURCE_DIR) + "/calibration/default.txt";
  const Words tuning_ = {"--steps", "12", "--step-chunks", "2", "--held-out", "2", "--compare-every", "3", "-t", "2"};
};

TEST_F(TuneInterrupted, Tune) {
  const std::string model = folder_ / "model.gguf", whole = folder_ / "whole.gguf";
  succeed({"quantize", llama_, model, "Q4_0", "-t", "2"});
  const auto command = [&](const std::string& out) {
    Words words = {"tune", model, "-o", out, "-f", text_, "-c", "64", "--chunks", "12", "--teacher", llama_};
    words.insert(words.end(), tuning_.begin(), tuning_.end());
    return words;
  };
  const double seconds = seconds_of([&] { succeed(command(whole)); });
  Words resumed = command(out_);
  resumed.insert(resumed.end(), {"--resume", folder_ / "progress", "--save-every", "0"});
  kill_and_resume(resumed, out_, folder_ / "progress", read_text(whole), seconds,
                  [](const std::string& said) { return said.find("steps of an earlier run") != std::string::npos; });
}

TEST_F(TuneInterrupted, QuantizeAndTune) {
  const std::string whole = folder_ / "whole.gguf";
  const auto command = [&](const std::string& out) {
    Words words = {"quantize", llama_, out, "Q4_0", "--calibrate", text_, "-c", "64", "--chunks", "12", "--tune"};
    words.insert(words.end(), tuning_.begin(), tuning_.end());
    return words;
  };
  const double seconds = seconds_of([&] { succeed(command(whole)); });
  Words resumed = command(out_);
  resumed.push_back("--resume");
  kill_and_resume(resumed, out_, out_ + ".untuned", read_text(whole), seconds,
                  [](const std::string& said) { return said.find("encoding") == std::string::npos; });
}

}  // namespace
}  // namespace steelyard::test
