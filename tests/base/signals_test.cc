// What is left and what is said when the system ends the process.
#include "base/signals.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>

#include "base/atomic_file.h"
#include "base/mapped_file.h"
#include "support.h"

namespace steelyard {
namespace {

size_t files_in(const std::string& folder) {
  return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(folder), {}));
}

TEST(SignalsDeathTest, AnInterruptionRemovesTemporaryFiles) {
  const test::TempFolder folder;
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    EXPECT_EXIT(
        {
          handle_signals();
          AtomicFile plain(folder / "out");
          AtomicFile resumable(folder / "unsaved", AtomicFile::Resume{0});
          plain.append("half");
          std::raise(signal);
        },
        testing::KilledBySignal(signal), "");
    EXPECT_EQ(files_in(folder / ""), 0u);
  }
  EXPECT_EXIT(
      {
        handle_signals();
        AtomicFile resumable(folder / "saved", AtomicFile::Resume{0});
        resumable.append("half");
        resumable.sync();
        resumable.keep();
        std::raise(SIGINT);
      },
      testing::KilledBySignal(SIGINT), "");
  EXPECT_EQ(test::read_text(folder / "saved.partial"), "half") << "it can be gone on with";
}

TEST(SignalsDeathTest, WhatIsSwitchedOffStaysSo) {
  EXPECT_EXIT(
      {
        std::signal(SIGHUP, SIG_IGN);
        handle_signals();
        std::raise(SIGHUP);
        ::_exit(3);
      },
      testing::ExitedWithCode(3), "");
}

TEST(SignalsDeathTest, AMappedFileThatShrinksIsNamed) {
  const test::TempFolder folder;
  const std::string path = folder / "model\x1b.gguf";
  write_file(path, std::string(1 << 20, 'x'));
  EXPECT_EXIT(
      {
        handle_signals();
        const MappedFile file(path);
        const AtomicFile unfinished(folder / "out");
        std::filesystem::resize_file(path, 0);
        ::_exit(file.bytes()[1 << 19] == std::byte{0} ? 4 : 5);
      },
      testing::ExitedWithCode(1), R"(steelyard: .*model\\x1b.gguf: cannot be read any more)");
  EXPECT_EQ(files_in(folder / ""), 1u);
}

TEST(SignalsDeathTest, ClosedStreamsAreOpened) {
  const test::TempFolder folder;
  EXPECT_EXIT(
      {
        ::close(STDIN_FILENO);
        ::close(STDOUT_FILENO);
        open_standard_streams();
        AtomicFile file(folder / "out");
        [[maybe_unused]] const ssize_t n = ::write(STDOUT_FILENO, "table", 5);
        file.append("content");
        file.finish();
        ::_exit(0);
      },
      testing::ExitedWithCode(0), "");
  EXPECT_EQ(test::read_text(folder / "out"), "content");
}

}  // namespace
}  // namespace steelyard
