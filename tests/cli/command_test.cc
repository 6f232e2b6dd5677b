// The harness itself, tried on /bin/sh.
#include "cli/command.h"

#include "support.h"

namespace steelyard::test {
namespace {

CommandResult shell(const std::string& script, const CommandLimits& limits = {}) {
  return run_command({"/bin/sh", "-c", script}, limits);
}

TEST(Command, SeparatesTheStreamsAndReportsTheStatus) {
  const CommandResult result = shell("echo out; echo err >&2; exit 3");
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_EQ(result.signal, 0);
  EXPECT_EQ(result.out, "out\n");
  EXPECT_EQ(result.err, "err\n");
}

TEST(Command, PassesArgumentsUnchanged) {
  const std::string odd = "a b\n'\"$HOME*";
  EXPECT_EQ(run_command({"/bin/sh", "-c", "printf %s \"$1\"", "sh", odd}).out, odd);
}

TEST(Command, StdinIsEmpty) { EXPECT_EQ(shell("cat").out, ""); }

TEST(Command, TakesMoreOutputThanAPipeHolds) {
  const CommandResult result =
      shell("i=0; while [ $i -lt 20000 ]; do echo 0123456789; echo 0123456789 >&2; i=$((i+1)); done");
  EXPECT_EQ(result.out.size(), 220000u);
  EXPECT_EQ(result.err.size(), 220000u);
}

TEST(Command, ReportsSignals) {
  const CommandResult result = shell("kill -ABRT $$");
  EXPECT_EQ(result.exit_code, -1);
  EXPECT_EQ(result.signal, SIGABRT);
}

TEST(Command, AProgramThatIsNotThere) { EXPECT_EQ(run_command({"/nonexistent/program"}).exit_code, 127); }

TEST(Command, KillsWhatDoesNotEnd) {
  CommandLimits limits;
  limits.seconds = 1;
  EXPECT_EQ(shell("exec sleep 60", limits).signal, SIGKILL);
}

TEST(Command, LimitsFileSizes) {
  const TempFolder folder;
  CommandLimits limits;
  limits.file_size = 4096;
  const CommandResult result = shell("head -c 100000 /dev/zero > " + folder / "big", limits);
  EXPECT_NE(result.exit_code, 0);
  EXPECT_EQ(result.signal, 0);
  EXPECT_EQ(std::filesystem::file_size(folder / "big"), 4096u);
  EXPECT_EQ(shell("head -c 100000 /dev/zero", limits).out.size(), 100000u);  // pipes are no files
}

TEST(Command, LimitsMemory) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "not applied under AddressSanitizer";
#endif
  CommandLimits limits;
  limits.address_space = rlim_t{1} << 20;
  EXPECT_NE(shell("true", limits).exit_code, 0);
  limits.address_space = rlim_t{1} << 30;
  EXPECT_EQ(shell("true", limits).exit_code, 0);
}

TEST(Command, OneLine) {
  EXPECT_TRUE(is_one_line("steelyard: wrong\n"));
  EXPECT_FALSE(is_one_line(""));
  EXPECT_FALSE(is_one_line("\n"));
  EXPECT_FALSE(is_one_line("no newline"));
  EXPECT_FALSE(is_one_line("two\nlines\n"));
}

}  // namespace
}  // namespace steelyard::test
