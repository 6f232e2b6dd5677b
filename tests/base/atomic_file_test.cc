// A target appears whole or not at all, and a failure leaves the folder as it was.
#include "base/atomic_file.h"

#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "base/error.h"
#include "base/mapped_file.h"
#include "base/output_target.h"
#include "error_of.h"
#include "support.h"

namespace steelyard {
namespace {

size_t files_in(const std::string& folder) {
  return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(folder), {}));
}

using test::error_of;

// While it lives, no file of this process can grow beyond `bytes`.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    handler_ = std::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_{};
  sighandler_t handler_;
};

TEST(AtomicFileTest, AppearsOnlyWhenFinished) {
  const test::TempFolder folder;
  const std::string path = folder / "out";
  AtomicFile file(path);
  file.append("one ");
  file.append("two");
  EXPECT_EQ(file.size(), 7u);
  EXPECT_FALSE(std::filesystem::exists(path));
  file.finish();
  EXPECT_EQ(test::read_text(path), "one two");
  EXPECT_EQ(files_in(folder / ""), 1u);
}

TEST(AtomicFileTest, LeavesNothingWhenAbandoned) {
  const test::TempFolder folder;
  {
    AtomicFile file(folder / "out");
    file.append("half a file");
    EXPECT_EQ(files_in(folder / ""), 1u);
  }
  EXPECT_EQ(files_in(folder / ""), 0u);
}

TEST(AtomicFileTest, KeepsTheOldFileUntilTheNewOneIsWhole) {
  const test::TempFolder folder;
  const std::string path = folder / "out";
  write_file(path, "old");
  { AtomicFile(path).append("new, unfinished"); }
  EXPECT_EQ(read_file(path), "old");
  write_file(path, "new");
  EXPECT_EQ(read_file(path), "new");
  EXPECT_EQ(files_in(folder / ""), 1u);
}

TEST(AtomicFileTest, LeavesNothingWhenTheFileCannotGrow) {
  const test::TempFolder folder;
  const std::string error = error_of([&] {
    AtomicFile file(folder / "out");
    file.append("0123456789");
    const FileSizeLimit limit(65536);
    for (int i = 0; i < 100; ++i) file.append(std::string(4096, 'x'));
    file.finish();
  });
  EXPECT_EQ(error, folder / "out" + ": cannot write after 65536 bytes: File too large");
  EXPECT_EQ(files_in(folder / ""), 0u);
}

TEST(AtomicFileTest, LeavesNothingWhenTheRenameFails) {
  const test::TempFolder folder;
  const std::string path = folder / "out";
  const std::string error = error_of([&] {
    AtomicFile file(path);
    file.append("text");
    std::filesystem::create_directory(path);  // in the way
    file.finish();
  });
  EXPECT_NE(error.find("cannot rename"), std::string::npos) << error;
  EXPECT_TRUE(std::filesystem::is_directory(path));
  EXPECT_EQ(files_in(folder / ""), 1u);
}

TEST(AtomicFileTest, ReservingLeavesNoTraceInTheResult) {
  const test::TempFolder folder;
  const std::string path = folder / "out";
  AtomicFile file(path);
  file.reserve(1 << 20);
  file.append("short");
  file.finish();
  EXPECT_EQ(test::read_text(path), "short");
  struct stat status {};
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_LE(status.st_blocks * 512, 65536) << "the reserved blocks were not given back";
}

TEST(AtomicFileTest, ReservingMoreThanThereIsFails) {
  const test::TempFolder folder;
  for (const uint64_t bytes : {uint64_t{1} << 62, ~uint64_t{0}}) {
    const std::string error = error_of([&] { AtomicFile(folder / "out").reserve(bytes); });
    EXPECT_NE(error.find("out: needs " + std::to_string(bytes) + " bytes"), std::string::npos) << error;
    EXPECT_EQ(files_in(folder / ""), 0u);
  }
}

TEST(AtomicFileTest, AFullDiskShowsAtTheReservation) {
  const test::TempFolder folder;
  if (::mount("tmpfs", (folder / "").c_str(), "tmpfs", 0, "size=64k") != 0) {
    GTEST_SKIP() << "needs the right to mount a file system";
  }
  const std::string reserving = error_of([&] { AtomicFile(folder / "out").reserve(1 << 20); });
  const std::string appending = error_of([&] { AtomicFile(folder / "out").append(std::string(1 << 20, 'x')); });
  const size_t left = files_in(folder / "");
  ::umount2((folder / "").c_str(), MNT_DETACH);
  EXPECT_EQ(reserving, folder / "out" + ": needs 1048576 bytes: No space left on device");
  EXPECT_EQ(appending, folder / "out" + ": cannot write after 65536 bytes: No space left on device");
  EXPECT_EQ(left, 0u);
}

TEST(AtomicFileTest, RefusesTargetsThatAreNoFiles) {
  const test::TempFolder folder;
  EXPECT_NE(error_of([&] { AtomicFile file(folder / ""); }).find("not a regular file"), std::string::npos);
  EXPECT_NE(error_of([] { AtomicFile file("/dev/full"); }).find("not a regular file"), std::string::npos);
  EXPECT_NE(error_of([&] { AtomicFile file(folder / "absent/out"); }).find("No such file"), std::string::npos);
}

TEST(AtomicFileTest, WritesThroughLinks) {
  const test::TempFolder folder;
  std::filesystem::create_directory(folder / "disk");
  write_file(folder / "disk/real", "old");
  std::filesystem::create_symlink("disk/real", folder / "link");
  std::filesystem::create_symlink(folder / "link", folder / "second");
  std::filesystem::create_symlink("disk/absent", folder / "dangling");
  write_file(folder / "second", "new");
  write_file(folder / "dangling", "first");
  for (const char* link : {"link", "second", "dangling"}) EXPECT_TRUE(std::filesystem::is_symlink(folder / link));
  EXPECT_EQ(test::read_text(folder / "disk/real"), "new");
  EXPECT_EQ(test::read_text(folder / "disk/absent"), "first");
  EXPECT_EQ(name_beside(folder / "link", ".x"), folder / "link.x");
  EXPECT_THROW(name_beside(folder / "lin", "k"), Error) << "nobody makes such a link but to lead us elsewhere";
  std::filesystem::create_symlink(folder / "circle", folder / "circle");
  EXPECT_NE(error_of([&] { write_file(folder / "circle", ""); }).find("Too many levels"), std::string::npos);
}

TEST(AtomicFileTest, KeepsTheModeOfTheOlderFile) {
  const test::TempFolder folder;
  const auto mode = [&] {
    struct stat status {};
    ::stat((folder / "out").c_str(), &status);
    return status.st_mode & 0777;
  };
  const mode_t before = ::umask(027);
  write_file(folder / "out", "new");
  EXPECT_EQ(mode(), 0640u);
  for (const mode_t wanted : {0600, 0666, 0444}) {
    ASSERT_EQ(::chmod((folder / "out").c_str(), wanted), 0);
    write_file(folder / "out", "newer");
    EXPECT_EQ(mode(), wanted);
    AtomicFile resumable(folder / "out", AtomicFile::Resume{0});
    struct stat partial {};
    ASSERT_EQ(::stat((folder / "out.partial").c_str(), &partial), 0);
    EXPECT_EQ(partial.st_mode & 0777, wanted) << "nobody may read it early";
  }
  ::umask(before);
}

TEST(AtomicFileTest, WhatCannotBeGoneOnWithDoesNotStay) {
  const test::TempFolder folder;
  { AtomicFile(folder / "out", AtomicFile::Resume{0}).append("nothing vouches for this"); }
  EXPECT_EQ(files_in(folder / ""), 0u);
  {
    AtomicFile file(folder / "out", AtomicFile::Resume{0});
    file.append("four");
    file.sync();
    file.keep();
    file.append(", and more");
  }
  EXPECT_EQ(files_in(folder / ""), 1u);
  AtomicFile file(folder / "out", AtomicFile::Resume{4});
  file.append("teen");
  file.finish();
  EXPECT_EQ(test::read_text(folder / "out"), "fourteen");
}

// Killed after the renaming, before its progress was removed.
TEST(AtomicFileTest, ACompleteFileMayHaveItsNameAlready) {
  const test::TempFolder folder;
  write_file(folder / "out", "whole");
  EXPECT_THROW(AtomicFile(folder / "out", AtomicFile::Resume{.size = 5}), Error);
  EXPECT_THROW(AtomicFile(folder / "out", AtomicFile::Resume{.size = 4, .complete = true}), Error);
  AtomicFile file(folder / "out", AtomicFile::Resume{.size = 5, .complete = true});
  file.sync();
  file.finish();
  EXPECT_EQ(test::read_text(folder / "out"), "whole");
}

TEST(AtomicFileTest, SomebodysPartialFileIsNotOverwritten) {
  const test::TempFolder folder;
  write_file(folder / "out.partial", "half a download");
  EXPECT_NE(error_of([&] { AtomicFile(folder / "out", AtomicFile::Resume{.size = 0, .ours = false}); }).find("exists"),
            std::string::npos);
  EXPECT_EQ(test::read_text(folder / "out.partial"), "half a download");
}

TEST(AtomicFileTest, IsNotPublishedWhenAMappedFileHasChanged) {
  const test::TempFolder folder;
  write_file(folder / "source", "text");
  const auto publish = [&] { return error_of([&] { write_file(folder / "out", "made of it"); }); };
  {
    const MappedFile source(folder / "source"), ours(folder / "source", MappedFile::Writer::kOurs);
    EXPECT_EQ(publish(), "");
    std::filesystem::last_write_time(folder / "source", std::filesystem::file_time_type::clock::now());
    EXPECT_EQ(publish(), folder / "source" + ": was changed while it was read");
    EXPECT_EQ(files_in(folder / ""), 2u);
  }
  EXPECT_EQ(publish(), "");
  const MappedFile source(folder / "source");
  write_file(folder / "source", "another file under its name");  // the one that is mapped stays as it was
  EXPECT_EQ(publish(), "");
}

TEST(AtomicFileTest, RelativeNamesWork) {
  const test::TempFolder folder;
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(folder / "");
  write_file("out", "text");
  std::filesystem::current_path(before);
  EXPECT_EQ(test::read_text(folder / "out"), "text");
}

TEST(AtomicFileDeathTest, NothingFollowsFinish) {
  const test::TempFolder folder;
  AtomicFile file(folder / "out");
  file.finish();
  EXPECT_DEATH(file.append("late"), "internal check failed");
  EXPECT_DEATH(file.finish(), "internal check failed");
}

TEST(ReadFile, ReadsAPipeToItsEnd) {
  const test::TempFolder folder;
  const std::string path = folder / "pipe", text(300'000, 'x');  // more than a pipe holds
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  std::thread writer([&] { std::ofstream(path) << text; });
  EXPECT_EQ(read_file(path), text);
  writer.join();
  EXPECT_EQ(read_file("/dev/null"), "");
}

TEST(ReadFile, OfAnEndlessPipeThereIsALimit) {
  EXPECT_NE(error_of([] { read_file("/dev/zero"); }).find("more than 256 MiB through a pipe"), std::string::npos);
}

TEST(ReadFile, APipeThatNobodyWritesToIsRefused) {
  const test::TempFolder folder;
  const std::string path = folder / "pipe";
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  EXPECT_NE(error_of([&] { read_file(path); }).find("nobody writes to"), std::string::npos);
}

// A writer that has nothing to say ends the pipe at once; one that thinks first is waited for.
TEST(ReadFile, WaitsForAWriterThatIsThere) {
  const test::TempFolder folder;
  const std::string path = folder / "pipe";
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  for (const std::string text : {"", "late"}) {
    std::thread writer([&] {
      std::ofstream out(path);
      std::this_thread::sleep_for(std::chrono::milliseconds(300));
      out << text;
    });
    EXPECT_EQ(read_file(path), text);
    writer.join();
  }
}

}  // namespace
}  // namespace steelyard
