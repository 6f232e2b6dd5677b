// Progress beside output: on a terminal the line is rewritten and taken off, elsewhere it is not there. The terminal is
// a pseudo-terminal that a child process writes to.
#include "progress_line.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>

#include "support.h"

namespace steelyard::tools {
namespace {

using testing::HasSubstr;
using testing::Not;

jobs::Progress at(int64_t done, std::string item = "a.weight") {
  return {.stage = "encode", .done = done, .total = 1000, .unit = "weights", .item = std::move(item)};
}

// What `work` writes where stderr, and stdout unless it goes to a file, are a terminal.
std::string on_terminal(const std::function<void()>& work, const std::string& output = "",
                        unsigned short columns = 80) {
  const int master = ::posix_openpt(O_RDWR | O_NOCTTY);
  if (master < 0 || ::grantpt(master) != 0 || ::unlockpt(master) != 0) return "no terminal";
  const winsize size{.ws_row = 24, .ws_col = columns, .ws_xpixel = 0, .ws_ypixel = 0};
  ::ioctl(master, TIOCSWINSZ, &size);
  const std::string name = ::ptsname(master);
  std::fflush(stdout);  // or the child would write it, too
  const pid_t child = ::fork();
  if (child == 0) {
    const int terminal = ::open(name.c_str(), O_RDWR | O_NOCTTY);
    ::dup2(terminal, STDERR_FILENO);
    ::dup2(output.empty() ? terminal : ::open(output.c_str(), O_WRONLY | O_CREAT, 0600), STDOUT_FILENO);
    std::setvbuf(stdout, nullptr, output.empty() ? _IOLBF : _IOFBF, BUFSIZ);
    work();
    std::fflush(stdout);
    ::_exit(0);
  }
  std::string text;
  char buffer[4096];
  int status = 0;
  // Read before and after the end: a terminal that nobody holds open any more gives an error.
  const int holder = ::open(name.c_str(), O_RDWR | O_NOCTTY);
  ::waitpid(child, &status, 0);
  ::fcntl(master, F_SETFL, O_NONBLOCK);
  for (ssize_t n; (n = ::read(master, buffer, sizeof(buffer))) > 0;) text.append(buffer, static_cast<size_t>(n));
  ::close(holder);
  ::close(master);
  return text;
}

// Needs pseudo-terminals, which a bare chroot has not.
class ProgressLineTest : public testing::Test {
 protected:
  void SetUp() override {
    const int master = ::posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0) GTEST_SKIP() << "no pseudo-terminals: /dev/pts is not mounted";
    ::close(master);
  }
};

const std::string kOff = "\r\x1b[K";

TEST(ProgressText, SaysHowFarHowFastAndHowLong) {
  EXPECT_EQ(progress_text(at(125), 0, 0), "encode a.weight: 12.5 %");
  EXPECT_EQ(progress_text(at(500), 0, 10), "encode a.weight: 50.0 %, 50 weights/s, 0:00:10 left");
  // What an earlier run has done takes no time now.
  EXPECT_EQ(progress_text(at(500), 400, 10), "encode a.weight: 50.0 %, 10 weights/s, 0:00:50 left");
  const jobs::Progress large{.stage = "encode", .done = 83'100'000, .total = 29'943'000'000, .unit = "weights"};
  EXPECT_EQ(progress_text(large, 0, 10), "encode: 0.3 %, 8.31 Mweights/s, 0:59:53 left");
  EXPECT_EQ(progress_text({.stage = "layers", .done = 3, .total = 40, .unit = "layers"}, 0, 6),
            "layers: 7.5 %, 0.5 layers/s, 0:01:14 left");
}

TEST_F(ProgressLineTest, IsTakenOffBeforeOutput) {
  const std::string text = on_terminal([] {
    ProgressLine line;
    line.show(at(100));
    print_out("result {}\n", 1);
  });
  EXPECT_EQ(text, kOff + "encode a.weight: 10.0 %" + kOff + "result 1\r\n");
}

TEST_F(ProgressLineTest, IsTakenOffAtItsEnd) {
  EXPECT_EQ(on_terminal([] {
              ProgressLine line;
              line.show(at(100));
            }),
            kOff + "encode a.weight: 10.0 %" + kOff);
  EXPECT_EQ(on_terminal([] {
              ProgressLine line;
              line.show(at(100));
              line.show(at(1000));
              std::fputs("x", stderr);
            }),
            kOff + "encode a.weight: 10.0 %" + kOff + "x");
}

TEST_F(ProgressLineTest, DoesNotBreakIntoALineOfOutput) {
  const auto work = [] {
    ProgressLine line;
    print_out("[1]5.3,");
    std::fflush(stdout);
    line.show(at(100));
    print_out("[2]5.2,\n");
  };
  EXPECT_EQ(on_terminal(work), "[1]5.3,[2]5.2,\r\n");
  // Where the output goes to a file it is no line of the terminal.
  const test::TempFolder folder;
  EXPECT_EQ(on_terminal(work, folder / "out"), kOff + "encode a.weight: 10.0 %" + kOff);
  EXPECT_EQ(test::read_text(folder / "out"), "[1]5.3,[2]5.2,\n");
}

TEST_F(ProgressLineTest, ErrorsBeginALine) {
  EXPECT_EQ(on_terminal([] {
              print_out("[1]5.3,");
              end_line();
              std::fputs("steelyard: no\n", stderr);
            }),
            "[1]5.3,\r\nsteelyard: no\r\n");
}

TEST_F(ProgressLineTest, FitsTheTerminal) {
  const std::string text = on_terminal([] { ProgressLine().show(at(100, std::string(200, 'w'))); }, "", 40);
  EXPECT_EQ(text, kOff + "encode " + std::string(32, 'w') + kOff);
  EXPECT_EQ(on_terminal([] { ProgressLine().show(at(100, "\xc3\xa4\xc3\xb6")); }, "", 11),
            kOff + "encode \xc3\xa4" + kOff);
}

TEST_F(ProgressLineTest, IsNotRewrittenFasterThanItCanBeRead) {
  const std::string text = on_terminal([] {
    ProgressLine line;
    for (int i = 1; i <= 100; ++i) line.show(at(i));
  });
  EXPECT_THAT(text, HasSubstr("encode a.weight: 0.1 %"));
  EXPECT_THAT(text, Not(HasSubstr("encode a.weight: 10.0 %")));
}

TEST(ProgressLine, IsNothingWhereThereIsNoTerminal) {
  const test::TempFolder folder;
  std::fflush(stdout);  // or the child would write it, too
  const pid_t child = ::fork();
  if (child == 0) {
    const int file = ::open((folder / "out").c_str(), O_WRONLY | O_CREAT, 0600);
    ::dup2(file, STDOUT_FILENO);
    ::dup2(file, STDERR_FILENO);
    ProgressLine line(ProgressLine::Elsewhere::kLines);
    line.show(at(100));  // the first line comes after ten seconds
    print_out("result\n");
    std::fflush(stdout);
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(test::read_text(folder / "out"), "result\n");
}

}  // namespace
}  // namespace steelyard::tools
