// Processes of others: what they get, and that nothing they do is our end.
#include "base/child_process.h"

#include <gmock/gmock.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

namespace steelyard {
namespace {

using Outcome = ChildProcess::Outcome;

ChildProcess::Clock::time_point soon(int milliseconds = 20'000) {
  return ChildProcess::Clock::now() + std::chrono::milliseconds(milliseconds);
}

ChildProcess::Options shell(const std::string& script) { return {.arguments = {"/bin/sh", "-c", script}}; }

std::string first_line(const std::string& script) {
  ChildProcess child(shell(script));
  std::string line;
  EXPECT_EQ(child.read_line(line, 10'000, soon()), Outcome::kDone) << script;
  return line;
}

TEST(ChildProcessTest, IsSpokenTo) {
  ChildProcess child(shell("while read -r line; do echo \"<$line>\"; done"));
  std::string line;
  for (const std::string text : {"one", "", "three"}) {
    EXPECT_EQ(child.write(text + "\n", soon()), Outcome::kDone);
    EXPECT_EQ(child.read_line(line, 100, soon()), Outcome::kDone);
    EXPECT_EQ(line, "<" + text + ">");
  }
  EXPECT_TRUE(WIFSIGNALED(child.end()));
}

TEST(ChildProcessTest, LongTextsPass) {
  ChildProcess child(shell("read -r line; echo \"$line\""));
  const std::string text(3'000'000, 'x');
  EXPECT_EQ(child.write(text + "\n", soon()), Outcome::kDone);
  std::string line;
  EXPECT_EQ(child.read_line(line, text.size(), soon()), Outcome::kDone);
  EXPECT_EQ(line, text);
}

TEST(ChildProcessTest, GetsLittle) {
  // The shell has three streams, and the folder that ls looks at.
  EXPECT_EQ(first_line("echo $(ls /proc/self/fd)"), "0 1 2 3");
  EXPECT_EQ(first_line("pwd"), "/");
  EXPECT_EQ(first_line("echo ${HOME-none}"), "none");
  EXPECT_EQ(first_line("set -- $(cat /proc/$$/stat); echo $(($1 - $6))"), "0") << "a session of its own";
  const test::TempFolder folder;
  ChildProcess child(shell("echo x > " + folder / "file" + "; echo done"));
  std::string line;
  child.read_line(line, 100, soon());
  EXPECT_EQ(test::read_text(folder / "file"), "");
}

TEST(ChildProcessTest, MemoryIsLimited) {
  ChildProcess::Options options = shell("x=x; while :; do x=$x$x; done");
  options.memory_bytes = 64 << 20;
  ChildProcess child(options);
  std::string line;
  EXPECT_EQ(child.read_line(line, 100, soon()), Outcome::kEnded);
}

TEST(ChildProcessTest, HangsAndDeathAreOutcomes) {
  std::string line;
  {
    ChildProcess child(shell("sleep 100"));
    EXPECT_EQ(child.read_line(line, 100, soon(50)), Outcome::kTimeout);
    EXPECT_EQ(child.write(std::string(10'000'000, 'x'), soon(50)), Outcome::kTimeout);
  }
  {
    ChildProcess child(shell("exit 3"));
    EXPECT_EQ(child.read_line(line, 100, soon()), Outcome::kEnded);
    EXPECT_EQ(child.write(std::string(10'000'000, 'x'), soon()), Outcome::kEnded) << "and no SIGPIPE";
  }
  {
    ChildProcess child(shell("yes | tr -d '\\n'"));
    EXPECT_EQ(child.read_line(line, 1000, soon()), Outcome::kTooLong);
  }
  {
    ChildProcess child({.arguments = {"/nonexistent/program"}});
    EXPECT_EQ(child.read_line(line, 100, soon()), Outcome::kEnded);
    const int status = child.end();
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 127) << status;
  }
}

// A process that is killed takes its children with it, busy ones too.
TEST(ChildProcessTest, DiesWithUs) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const pid_t pid = ::fork();
  if (pid == 0) {
    ChildProcess child(shell("echo $$; while :; do :; done"));
    std::string line;
    child.read_line(line, 100, soon());
    line += "\n";
    [[maybe_unused]] const ssize_t count = ::write(ends[1], line.data(), line.size());
    ::pause();
  }
  char text[32] = {};
  ASSERT_GT(::read(ends[0], text, sizeof text - 1), 0);
  const pid_t child = static_cast<pid_t>(std::stoi(text));
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
  bool gone = false;
  for (int i = 0; i < 200 && !gone; ++i) {
    const std::string path = "/proc/" + std::to_string(child) + "/stat";
    std::ifstream in(path);
    std::string id, name, state;
    gone = !(in >> id >> name >> state) || state == "Z";
    if (!gone) ::usleep(50'000);
  }
  EXPECT_TRUE(gone);
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST(ConfinementFilter, IsAnArrayOfInstructions) { EXPECT_EQ(confinement_filter().size() % 8, 0u); }

}  // namespace
}  // namespace steelyard
