// Runs on text that a model writes, killed at random moments: with --resume they end in the bytes of an uninterrupted
// run, do not write again what was written, and leave nothing behind. STEELYARD_KILLS sets the number of kills.
#include <chrono>
#include <functional>
#include <random>
#include <regex>
#include <set>
#include <thread>

#include "cli/failure.h"

namespace steelyard::test {
namespace {

using Words = std::vector<std::string>;

class OwnTextInterrupted : public FailureTest {
 protected:
  static Words with(Words words, const Words& more) {
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  static CommandResult succeed(const Words& words) {
    CommandResult result = run(words);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result;
  }
  // The number that a run has printed before or after some words; 0 where it has printed none.
  static int64_t number(const std::string& text, const std::string& pattern) {
    std::smatch found;
    return std::regex_search(text, found, std::regex(pattern)) ? std::stoll(found[1]) : 0;
  }
  static int64_t n_resumed(const CommandResult& result) {
    return number(result.out, "continued after ([0-9]+) chunks of an earlier run");
  }
  static int64_t n_written(const CommandResult& result) { return number(result.out, "wrote ([0-9]+) tokens"); }

  static double seconds_of(const std::function<void()>& action) {
    const auto begin = std::chrono::steady_clock::now();
    action();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }

  // Kills the command after so many seconds since `state` came to hold.
  static void kill_after(const Words& words, const std::function<bool()>& state, double seconds) {
    BackgroundCommand at_work(with_binary(words));
    if (at_work.wait_for(state)) std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
    at_work.kill();
  }
  // A killed run leaves the temporary file that it was writing, which has the process's number in its name.
  void remove_temporary() const {
    for (const auto& [path, content] : files()) {
      if (path.ends_with(".tmp")) std::filesystem::remove(path);
    }
  }
  void expect_files(const std::set<std::string>& expected) const {
    remove_temporary();
    std::set<std::string> found;
    for (const auto& [path, content] : files()) found.insert(std::filesystem::path(path).filename());
    EXPECT_EQ(found, expected);
  }

  static bool always() { return true; }
  std::mt19937 random_{20250101};
  double random_share() { return std::uniform_real_distribution<>(0, 1)(random_); }

  const std::string glm_ = std::string(STEELYARD_SOURCE_DIR) + "/tests/models/glm-flash-tiny-bf16.gguf";
};

TEST_F(OwnTextInterrupted, Write) {
  const Words command = {"write", "-m", glm_, "-c", "32", "--chunks", "8", "--parallel", "2", "-t", "2"};
  const double whole_run = seconds_of([&] { succeed(with(command, {"-o", folder_ / "whole"})); });
  const std::string whole = read_text(folder_ / "whole"), progress = folder_ / "progress", own = folder_ / "own";
  const Words resumed = with(command, {"-o", own, "--resume", progress, "--save-every", "0"});

  // Odd-numbered kills happen after the first save, so that there is progress to resume whatever the speed.
  const int n_kills = kills(6);
  int went_on = 0;
  for (int i = 0; i < n_kills; ++i) {
    if (i % 2 == 0)
      kill_after(resumed, always, whole_run * random_share());
    else
      kill_after(
          resumed, [&] { return has_progress(progress); }, whole_run / 3 * random_share());
    if (i % 3 == 2 && !std::filesystem::exists(own)) continue;  // sometimes the resumed run is killed too
    if (!std::filesystem::exists(own)) {
      const CommandResult result = succeed(resumed);
      EXPECT_EQ(n_written(result), (8 - n_resumed(result)) * 32) << result.out;
      went_on += n_resumed(result) > 0;
    }
    ASSERT_TRUE(read_text(own) == whole) << "kill " << i;
    std::filesystem::remove(own);
    std::filesystem::remove(progress);  // which goes last
    expect_files({"whole"});
  }
  EXPECT_GT(went_on, 0);
}

TEST_F(OwnTextInterrupted, Quantize) {
  const Words command = {"quantize", llama_, "Q4_0", "--calibrate", "self", "-c", "32", "--chunks", "8", "-t", "2"};
  const auto onto = [&](const std::string& path, const Words& more = {}) {
    Words words = with(command, more);
    words.insert(words.begin() + 2, path);
    return words;
  };
  const double whole_run = seconds_of([&] { succeed(onto(folder_ / "whole.gguf")); });
  const std::string whole = read_text(folder_ / "whole.gguf");
  const Words resumed = onto(out_, {"--resume"});

  // Even-numbered kills happen while the model writes or soon after, odd-numbered ones while layers are calibrated.
  const int n_kills = kills(5);
  int went_on = 0;
  for (int i = 0; i < n_kills; ++i) {
    const bool calibrating = i % 2 == 1;
    if (calibrating)
      kill_after(
          resumed, [&] { return has_progress(out_ + ".text"); }, whole_run / 2 * random_share());
    else
      kill_after(resumed, always, whole_run / 3 * random_share());
    if (!std::filesystem::exists(out_)) {
      const bool has_text = has_progress(out_ + ".text");
      const CommandResult result = succeed(resumed);
      EXPECT_EQ(n_resumed(result), has_text ? 8 : 0) << result.out;
      EXPECT_EQ(n_written(result), has_text ? 0 : 8 * 32) << result.out;
      went_on += has_text;
      expect_files({"whole.gguf", "out.gguf"});
    }
    ASSERT_TRUE(read_text(out_) == whole) << "kill " << i;
    for (const char* rest : {"", ".journal", ".text"}) std::filesystem::remove(out_ + rest);
  }
  EXPECT_GT(went_on, 0);
  // A run without --resume would take up nothing. One that was interrupted is not written over either.
  const auto has_tensors = [&] {
    std::ifstream in(out_ + ".journal");
    return std::string(std::istreambuf_iterator<char>(in), {}).find(" tensor ") != std::string::npos;
  };
  kill_after(resumed, has_tensors, 0);
  remove_temporary();
  if (!std::filesystem::exists(out_)) expect_fails(onto(out_), "--resume goes on with it, --restart discards it");
  EXPECT_EQ(n_resumed(succeed(onto(out_, {"--restart"}))), 0);
  EXPECT_TRUE(read_text(out_) == whole);
  expect_files({"whole.gguf", "out.gguf"});
}

TEST_F(OwnTextInterrupted, Imatrix) {
  const Words command = {"imatrix",  "-m", glm_,      "-f",    "self", "-c", "32",
                         "--chunks", "8",  "--order", "layer", "-t",   "2"};
  const double whole_run = seconds_of([&] { succeed(with(command, {"-o", folder_ / "whole.gguf"})); });
  const std::string whole = read_text(folder_ / "whole.gguf"), progress = folder_ / "progress";
  const Words resumed = with(command, {"-o", out_, "--resume", progress, "--save-every", "0"});

  // By turns: at any moment, after the first save of the text, after the first save of the sums.
  const int n_kills = kills(6);
  int went_on_writing = 0, went_on_collecting = 0;
  for (int i = 0; i < n_kills; ++i) {
    if (i % 3 == 0)
      kill_after(resumed, always, whole_run * random_share());
    else if (i % 3 == 1)
      kill_after(
          resumed, [&] { return has_progress(progress + ".text"); }, whole_run / 4 * random_share());
    else
      kill_after(
          resumed, [&] { return has_progress(progress); }, whole_run / 16 * random_share());
    if (!std::filesystem::exists(out_)) {
      const bool has_text = has_progress(progress + ".text"), has_sums = has_progress(progress);
      const CommandResult result = succeed(resumed);
      EXPECT_EQ(n_written(result), (8 - n_resumed(result)) * 32) << result.out;
      EXPECT_EQ(n_resumed(result) > 0, has_text) << result.out;
      if (has_sums) {
        EXPECT_EQ(n_resumed(result), 8) << "what was collected was written";
      }
      went_on_writing += has_text;
      went_on_collecting += result.out.find("layers of an earlier run") != std::string::npos;
      expect_files({"whole.gguf", "out.gguf"});
    }
    ASSERT_TRUE(read_text(out_) == whole) << "kill " << i;
    std::filesystem::remove(out_);
    std::filesystem::remove(progress);
    std::filesystem::remove(progress + ".text");
  }
  EXPECT_GT(went_on_writing, 0);
  EXPECT_GT(went_on_collecting, 0);
}

}  // namespace
}  // namespace steelyard::test
