// The binary interrupted, with closed streams, and with a model that shrinks or changes under it.
#include <algorithm>
#include <chrono>
#include <filesystem>
#include <random>
#include <thread>

#include "cli/failure.h"

namespace steelyard::test {
namespace {

class Signals : public FailureTest {
 protected:
  // Every job that writes, without --resume.
  std::vector<std::vector<std::string>> commands() const {
    const std::string corpus = std::string(STEELYARD_SOURCE_DIR) + "/calibration/default.txt";
    return {{"quantize", model_, out_, "Q4_K", "-t", "1", "--effort", "best"},
            {"quantize", model_, out_, "Q4_K", "--calibrate", corpus, "--chunks", "4", "-t", "1"},
            {"imatrix", "-m", model_, "-f", corpus, "-o", out_, "--chunks", "40", "-t", "1"},
            {"perplexity", "-m", model_, "-f", corpus, "--kl-divergence-base", out_, "--chunks", "40", "-t", "1"},
            {"search", model_, "-f", corpus, "-o", out_, "--bpw", "4", "--chunks", "8", "--held-out", "4", "-t", "1"},
            {"write", "-m", model_, "-o", out_, "--chunks", "8", "-c", "128", "-t", "1"}};
  }

  const std::string model_ = std::string(STEELYARD_SOURCE_DIR) + "/tests/models/glm-flash-tiny-bf16.gguf";
};

// What has finished a tensor can be gone on with and stays; all else goes.
TEST_F(Signals, AnInterruptedRunLeavesNothingUseless) {
  std::mt19937 random(5);
  for (const std::vector<std::string>& command : commands()) {
    for (const int signal : {SIGINT, SIGTERM}) {
      BackgroundCommand run(with_binary(command));
      std::this_thread::sleep_for(std::chrono::milliseconds(std::uniform_int_distribution<>(50, 1500)(random)));
      run.kill(signal);
      const bool journal = std::filesystem::exists(out_ + ".journal");
      for (const auto& [path, content] : files()) {
        const bool may_stay = path == out_ || (journal && (path == out_ + ".journal" || path == out_ + ".partial"));
        EXPECT_TRUE(may_stay) << command[0] << " left " << path;
        std::filesystem::remove(path);
      }
    }
  }
}

TEST_F(Signals, NoTextOfClosedStreamsReachesAFile) {
  for (const std::string streams : {">&-", "2>&-", "<&-", "<&- >&- 2>&-"}) {
    const std::string command = std::string(STEELYARD_BINARY) + " quantize " + llama_ + " ";
    ASSERT_EQ(run_command({"/bin/sh", "-c", command + folder_ / "open.gguf" + " Q8_0"}).exit_code, 0);
    ASSERT_EQ(run_command({"/bin/sh", "-c", command + out_ + " Q8_0 " + streams}).exit_code, 0) << streams;
    EXPECT_TRUE(read_text(folder_ / "open.gguf") == read_text(out_)) << streams;
  }
}

TEST_F(Signals, AModelThatShrinksIsNamed) {
  const std::string source = folder_ / "source.gguf";
  for (const std::vector<std::string>& command : commands()) {
    std::filesystem::copy_file(model_, source, std::filesystem::copy_options::overwrite_existing);
    std::vector<std::string> words = command;
    std::ranges::replace(words, model_, source);
    const TempFolder elsewhere;
    BackgroundCommand run(with_binary(words), elsewhere / "err");
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    std::filesystem::resize_file(source, 1 << 20);
    EXPECT_EQ(run.finish(), 1) << command[0];
    // A line of progress may come before it.
    const std::string err = read_text(elsewhere / "err");
    EXPECT_NE(err.find("steelyard: " + source + ": "), std::string::npos) << command[0] << ": " << err;
    for (const char* suffix : {"", ".journal", ".partial"}) std::filesystem::remove(out_ + suffix);
    std::filesystem::remove(source);
    EXPECT_TRUE(files().empty()) << command[0] << " left " << files().begin()->first;
  }
}

}  // namespace
}  // namespace steelyard::test
