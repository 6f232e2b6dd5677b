// Jobs that mpirun has started: one, two and four ranks make the same bytes and say the same once; a rank that is
// killed ends the job in one line, and another number of ranks goes on. Skipped in a build without MPI.
#include <fmt/format.h>
#include <unistd.h>

#include <random>

#include "cli/failure.h"

namespace steelyard::test {
namespace {

#ifdef STEELYARD_MPIRUN

const std::string kSource = STEELYARD_SOURCE_DIR;
const std::string kModel = kSource + "/tests/models/glm-flash-tiny-bf16.gguf",
                  kText = kSource + "/tests/text/heldout.txt";

class Mpi : public FailureTest {
 protected:
  static std::vector<std::string> in_ranks(int n, const std::vector<std::string>& arguments) {
    std::vector<std::string> words = {STEELYARD_MPIRUN, "-q", "--allow-run-as-root", "--oversubscribe", "--bind-to",
                                      "none",           "-n", std::to_string(n),     STEELYARD_BINARY};
    words.insert(words.end(), arguments.begin(), arguments.end());
    words.insert(words.end(), {"-t", "1"});
    return words;
  }
  static std::vector<std::string> imatrix(const std::string& order, std::vector<std::string> more) {
    std::vector<std::string> words = {"imatrix", "-m",  kModel,     "-f", kText,     "-c", "128",
                                      "-b",      "256", "--chunks", "12", "--order", order};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  static std::vector<std::string> quantize(const std::string& output, std::vector<std::string> more = {}) {
    std::vector<std::string> words = {"quantize", kModel, output, "Q2_K",     "--calibrate",
                                      kText,      "-c",   "64",   "--chunks", "9"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
};

TEST_F(Mpi, ImportanceAndPerplexityAreTheSame) {
  for (const char* order : {"token", "layer"}) {
    ASSERT_EQ(run(imatrix(order, {"-o", folder_ / "alone.gguf"})).exit_code, 0);
    const auto perplexity = [&](const std::string& json) {
      return std::vector<std::string>{"perplexity", "-m",       kModel, "-f",      kText, "-c",     "128", "-b",
                                      "256",        "--chunks", "10",   "--order", order, "--json", json};
    };
    const CommandResult alone = run(perplexity(folder_ / "alone.json"));
    ASSERT_EQ(alone.exit_code, 0);
    for (const int n : {1, 2, 4}) {
      const CommandResult result = run_command(in_ranks(n, imatrix(order, {"-o", out_})));
      ASSERT_EQ(result.exit_code, 0) << result.err;
      EXPECT_TRUE(read_text(out_) == read_text(folder_ / "alone.gguf")) << order << " " << n;
      const CommandResult figures = run_command(in_ranks(n, perplexity(folder_ / "ranks.json")));
      ASSERT_EQ(figures.exit_code, 0) << figures.err;
      EXPECT_EQ(figures.out, alone.out) << order << " " << n;
      EXPECT_EQ(read_text(folder_ / "ranks.json"), read_text(folder_ / "alone.json"));
    }
  }
}

TEST_F(Mpi, CalibrationIsTheSame) {
  ASSERT_EQ(run(quantize(folder_ / "alone.gguf")).exit_code, 0);
  for (const int n : {2, 4}) {
    const CommandResult result = run_command(in_ranks(n, quantize(out_, {"--restart"})));
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_TRUE(read_text(out_) == read_text(folder_ / "alone.gguf")) << n;
  }
}

TEST_F(Mpi, WhatIsWrongIsSaidOnce) {
  const CommandResult missing =
      run_command(in_ranks(3, {"imatrix", "-m", folder_ / "none.gguf", "-f", kText, "-o", out_}));
  EXPECT_EQ(missing.exit_code, 1);
  EXPECT_TRUE(is_one_line(missing.err)) << missing.err;
  const CommandResult alone = run_command(in_ranks(2, {"run", "-m", kModel, "-p", "a", "-n", "1"}));
  EXPECT_EQ(alone.exit_code, 1);
  EXPECT_TRUE(is_one_line(alone.err)) << alone.err;
  EXPECT_NE(alone.err.find("runs in one process"), std::string::npos);
}

// The processes that mpirun has started.
std::vector<pid_t> children_of(pid_t parent) {
  std::vector<pid_t> children;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    std::ifstream stat(entry.path() / "stat");
    pid_t id = 0, of = 0;
    std::string name;
    char state = 0;
    if (stat >> id >> name >> state >> of && of == parent && name == "(steelyard)") children.push_back(id);
  }
  return children;
}

TEST_F(Mpi, ARankThatIsKilledEndsTheJobAndAnotherNumberGoesOn) {
  const std::string progress = folder_ / "progress";
  std::mt19937 random(20250101);
  int n_killed = 0;
  for (const char* order : {"token", "layer"}) {
    ASSERT_EQ(run(imatrix(order, {"-o", folder_ / "alone.gguf"})).exit_code, 0);
    const std::vector<std::string> resumed = imatrix(order, {"-o", out_, "--resume", progress, "--save-every", "0"});
    for (const int n : {2, 4}) {
      const std::string err = folder_ / fmt::format("err-{}-{}", order, n);
      BackgroundCommand at_work(in_ranks(n, resumed), err);
      if (at_work.wait_for([&] { return has_progress(progress); })) {
        const std::vector<pid_t> ranks = children_of(at_work.id());
        if (!ranks.empty() && ::kill(ranks[random() % ranks.size()], SIGKILL) == 0 && at_work.finish() != 0) {
          ++n_killed;
          EXPECT_TRUE(is_one_line(read_text(err))) << read_text(err);
        }
      }
    }
    if (!std::filesystem::exists(out_)) {
      const CommandResult result = run_command(in_ranks(3, resumed));
      ASSERT_EQ(result.exit_code, 0) << result.err;
    }
    EXPECT_TRUE(read_text(out_) == read_text(folder_ / "alone.gguf")) << order;
    std::filesystem::remove(out_);
  }
  EXPECT_GT(n_killed, 0);
}

#else

TEST(Mpi, IsNotInThisBuild) {
  GTEST_SKIP() << "a build with STEELYARD_MPI=ON runs jobs in several ranks: make test PRESET=mpi";
}

#endif

}  // namespace
}  // namespace steelyard::test
