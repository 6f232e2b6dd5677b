// The binary killed at random moments, on full disks, and twice at once: never a wrong or partial file under the final
// name, and --resume ends in the bytes of an uninterrupted run. STEELYARD_KILLS sets the number of kills.
#include <sys/mount.h>
#include <unistd.h>

#include <chrono>
#include <random>
#include <thread>

#include "cli/failure.h"

namespace steelyard::test {
namespace {

class QuantizeInterrupted : public FailureTest {
 protected:
  std::vector<std::string> command(const std::string& out, std::vector<std::string> more = {}) const {
    std::vector<std::string> words = {"quantize", model_, out, "Q4_K", "-t", "2"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }

  CommandResult succeed(const std::vector<std::string>& arguments) const {
    const CommandResult result = run(arguments);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result;
  }

  static int64_t count_of(const std::string& word, const std::string& text) {
    int64_t n = 0;
    for (size_t at = text.find(word); at != text.npos; at = text.find(word, at + 1)) ++n;
    return n;
  }

  std::string journal() const {
    std::ifstream in(out_ + ".journal");
    return std::string(std::istreambuf_iterator<char>(in), {});
  }

  const std::string model_ = std::string(STEELYARD_SOURCE_DIR) + "/tests/models/glm-flash-tiny-bf16.gguf";
};

// Half of the moments are points in time, which may fall behind the end on a machine that is suddenly fast; the other
// half are states of the journal, so that runs at work are hit whatever the speed.
TEST_F(QuantizeInterrupted, KilledAtRandomMoments) {
  const auto begin = std::chrono::steady_clock::now();
  succeed(command(folder_ / "whole.gguf"));
  const std::chrono::duration<double> whole_run = std::chrono::steady_clock::now() - begin;
  const std::string whole = read_text(folder_ / "whole.gguf");

  const int n_kills = kills(12);
  std::mt19937 random(20250101);
  int at_work = 0;
  for (int i = 0; i < n_kills; ++i) {
    BackgroundCommand run(with_binary(command(out_, {"--resume"})));
    if (i % 2 == 0) {
      std::this_thread::sleep_for(whole_run * std::uniform_real_distribution<>(0, 1)(random));
    } else {
      const int n_tensors = std::uniform_int_distribution<>(0, 20)(random);
      run.wait_for([&] { return count_of(" tensor ", journal()) >= n_tensors; });
    }
    at_work += run.kill();
    if (std::filesystem::exists(out_)) {  // it was done before the kill
      ASSERT_TRUE(read_text(out_) == whole) << "kill " << i;
      std::filesystem::remove(out_);
      std::filesystem::remove(out_ + ".journal");  // which goes last
    }
    if (i % 3 == 2) continue;  // sometimes the resumed run is killed too
    succeed(command(out_, {"--resume"}));
    ASSERT_TRUE(read_text(out_) == whole) << "kill " << i;
    std::filesystem::remove(out_);
  }
  EXPECT_GT(at_work, n_kills / 4);
  succeed(command(out_, {"--resume"}));
  EXPECT_TRUE(read_text(out_) == whole);
  std::filesystem::remove(folder_ / "whole.gguf");
  std::filesystem::remove(out_);
  EXPECT_TRUE(files().empty()) << "something was left behind";
}

TEST_F(QuantizeInterrupted, CalibratedRunGoesOnFromTheLayersThatAreDone) {
  const std::string text = std::string(STEELYARD_SOURCE_DIR) + "/tests/text/heldout.txt";
  const auto calibrated = [&](const std::string& out) {
    return std::vector<std::string>{"quantize", wide_, out, "Q4_K", "--calibrate", text, "-c", "64", "--chunks", "8"};
  };
  const auto begin = std::chrono::steady_clock::now();
  succeed(calibrated(folder_ / "whole.gguf"));
  const std::chrono::duration<double> whole_run = std::chrono::steady_clock::now() - begin;
  const std::string whole = read_text(folder_ / "whole.gguf");
  std::vector<std::string> resumed = calibrated(out_);
  resumed.push_back("--resume");

  const int n_kills = kills(3);
  std::mt19937 random(20250101);
  for (int i = 0; i < n_kills; ++i) {
    BackgroundCommand run(with_binary(resumed));
    std::this_thread::sleep_for(whole_run * std::uniform_real_distribution<>(0, 1)(random));
    run.kill();
    if (!std::filesystem::exists(out_)) succeed(resumed);
    ASSERT_TRUE(read_text(out_) == whole) << "kill " << i;
    std::filesystem::remove(out_);
    std::filesystem::remove(out_ + ".journal");
  }
}

TEST_F(QuantizeInterrupted, ImatrixThatChangedIsRefused) {
  const std::string imatrix = file("i.gguf", read_text(golden("imatrix/deepseek2_k256/imatrix_with_output.gguf")));
  const std::vector<std::string> words = {"quantize", wide_, out_, "IQ3_S", "--imatrix", imatrix, "--effort", "best"};
  std::vector<std::string> resumed = words;
  resumed.push_back("--resume");
  BackgroundCommand run(with_binary(words));
  run.wait_for([&] { return count_of(" tensor ", journal()) > 0; });
  ASSERT_TRUE(run.kill());
  const std::string other = read_text(golden("imatrix/deepseek2_k256/imatrix.gguf"));
  file("i.gguf", other);
  expect_fails(resumed, "the interrupted run differs in imatrix");
}

TEST_F(QuantizeInterrupted, DiskThatFills) {
  const std::string disk = folder_ / "disk";
  std::filesystem::create_directory(disk);
  if (::mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=6m") != 0)
    GTEST_SKIP() << "needs the right to mount a file system";
  const CommandResult result = run(command(disk + "/out.gguf"));
  const bool empty = std::filesystem::is_empty(disk);
  ::umount2(disk.c_str(), MNT_DETACH);
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_NE(result.err.find("out.gguf: needs"), std::string::npos) << result.err;
  EXPECT_NE(result.err.find("No space left"), std::string::npos) << result.err;
  EXPECT_TRUE(empty);
}

TEST_F(QuantizeInterrupted, UnwritableTarget) {
  expect_fails(command(folder_ / "absent/out.gguf"), "absent/out.gguf: cannot write here");
  std::filesystem::create_directory(out_ + ".partial");
  expect_fails(command(out_), "out.gguf.partial: exists and is not a regular file");
  std::filesystem::create_directory(folder_ / "b.gguf.journal");
  expect_fails(command(folder_ / "b.gguf"), "b.gguf.journal: exists and is not a regular file");
}

TEST_F(QuantizeInterrupted, TheSourceUnderAnyNameThatIsWritten) {
  for (const char* name : {"a.gguf", "a.gguf.partial", "a.gguf.journal"}) {
    const std::string model = file(name, read_text(llama_));
    expect_fails({"quantize", model, folder_ / "a.gguf", "Q8_0"}, "is also the source");
    std::filesystem::remove(model);
  }
}

TEST_F(QuantizeInterrupted, TwoAtOnceDoNotMeet) {
  succeed(command(folder_ / "whole.gguf"));
  BackgroundCommand first(with_binary(command(out_)));
  ASSERT_TRUE(first.wait_for([&] { return count_of(" tensor ", journal()) > 0; }));
  first.stop();
  const CommandResult second = run(command(out_));
  EXPECT_EQ(second.exit_code, 1);
  EXPECT_NE(second.err.find("another run is writing it"), std::string::npos) << second.err;
  EXPECT_EQ(first.finish(), 0);
  EXPECT_TRUE(read_text(out_) == read_text(folder_ / "whole.gguf"));
}

TEST_F(QuantizeInterrupted, RepeatedFromTheFileItself) {
  const std::string imatrix = golden("imatrix/deepseek2_k256/imatrix_with_output.gguf");
  succeed({"quantize", wide_, out_, "Q4_K", "--imatrix", imatrix, "--tensor-type", "exps=IQ3_S", "--effort", "fast",
           "--override-kv", "general.name=str:again", "--verify"});
  std::filesystem::create_symlink(imatrix, folder_ / "renamed");  // names of files do not matter
  succeed({"quantize", "--from", out_, wide_, folder_ / "again.gguf", "--imatrix", folder_ / "renamed"});
  EXPECT_TRUE(read_text(out_) == read_text(folder_ / "again.gguf"));

  const std::string third = folder_ / "third.gguf";
  expect_fails({"quantize", "--from", out_, wide_, third}, "was made with an imatrix");
  expect_fails({"quantize", "--from", out_, wide_, third, "--imatrix", golden("imatrix/deepseek2_k256/imatrix.gguf")},
               "is not the imatrix of");
  expect_fails({"quantize", "--from", out_, llama_, third, "--imatrix", imatrix}, "is not the source of");
  expect_fails({"quantize", "--from", wide_, wide_, third}, "has no checksums");
  expect_fails({"quantize", "--from", out_, wide_, third, "--effort", "best"}, "--from excludes --effort");
  expect_fails({"quantize", "--from", out_, wide_, third, "Q8_0"}, "--from excludes");
}

// The header says which model it is; a changed weight shows when it has been read, and before the file gets its name.
TEST_F(QuantizeInterrupted, RepeatingFromAChangedSource) {
  std::string changed = read_text(wide_);
  const std::string source = file("model.gguf", changed);
  succeed({"quantize", source, out_, "Q8_0"});
  changed[changed.size() - 2] = static_cast<char>(changed[changed.size() - 2] ^ 1);
  file("model.gguf", changed);
  const CommandResult result = run({"quantize", "--from", out_, source, folder_ / "again.gguf"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_NE(result.err.find("the source is not that of the file to repeat"), std::string::npos) << result.err;
  EXPECT_FALSE(std::filesystem::exists(folder_ / "again.gguf"));
}

}  // namespace
}  // namespace steelyard::test
