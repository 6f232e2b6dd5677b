// Collection killed at random moments, in both orders: with --resume it ends in the bytes of an uninterrupted run.
// STEELYARD_KILLS sets the number of kills.
#include <chrono>
#include <random>

#include "cli/failure.h"

namespace steelyard::test {
namespace {

class ImatrixInterrupted : public FailureTest, public testing::WithParamInterface<const char*> {};

TEST_P(ImatrixInterrupted, KilledAtRandomMoments) {
  const std::string source = STEELYARD_SOURCE_DIR;
  const auto command = [&](std::vector<std::string> more) {
    std::vector<std::string> words = {"imatrix",
                                      "-m",
                                      source + "/tests/models/glm-flash-tiny-bf16.gguf",
                                      "-f",
                                      source + "/tests/text/heldout.txt",
                                      "-c",
                                      "256",
                                      "-b",
                                      "512",
                                      "--chunks",
                                      "16",
                                      "--order",
                                      GetParam()};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  };
  const std::string progress = folder_ / "progress";
  const auto begin = std::chrono::steady_clock::now();
  ASSERT_EQ(run(command({"-o", folder_ / "whole.gguf"})).exit_code, 0);
  const std::chrono::duration<double> whole_run = std::chrono::steady_clock::now() - begin;
  const std::string whole = read_text(folder_ / "whole.gguf");

  // Odd-numbered kills happen after the first save, so that there is progress to resume whatever the speed.
  const int n_kills = kills(6);
  const std::vector<std::string> resumed = command({"-o", out_, "--resume", progress, "--save-every", "0"});
  std::mt19937 random(20250101);
  int went_on = 0;
  for (int i = 0; i < n_kills; ++i) {
    const auto moment = whole_run * std::uniform_real_distribution<>(0, 1)(random);
    BackgroundCommand at_work(with_binary(resumed));
    if (i % 2 == 1) at_work.wait_for([&] { return has_progress(progress); });
    std::this_thread::sleep_for(i % 2 == 1 ? moment / 4 : moment);
    at_work.kill();
    if (!std::filesystem::exists(out_) && i % 3 == 2) continue;  // sometimes the resumed run is killed too
    if (!std::filesystem::exists(out_)) {
      const CommandResult result = run(resumed);
      ASSERT_EQ(result.exit_code, 0) << result.err;
      went_on += result.out.find("continued after") != std::string::npos;
    }
    ASSERT_TRUE(read_text(out_) == whole) << "kill " << i;
    EXPECT_FALSE(std::filesystem::exists(progress));
    std::filesystem::remove(out_);
  }
  EXPECT_GT(went_on, 0);
}

INSTANTIATE_TEST_SUITE_P(Orders, ImatrixInterrupted, testing::Values("token", "layer"));

}  // namespace
}  // namespace steelyard::test
