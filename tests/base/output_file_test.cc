// Writing at any place; what is left out reads as zeros, and faults name the target.
#include "base/output_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "base/atomic_file.h"
#include "base/error.h"
#include "error_of.h"
#include "support.h"

namespace steelyard {
namespace {

std::span<const std::byte> bytes(std::string_view text) { return std::as_bytes(std::span(text.data(), text.size())); }

TEST(OutputFileTest, WritesInAnyOrder) {
  const test::TempFolder folder;
  OutputFile file(folder / "out", "target", OutputFile::Content::kNew);
  file.write_at(6, bytes("world"));
  file.write_at(0, bytes("hello"));
  file.resize(12);
  file.sync();
  EXPECT_EQ(test::read_text(folder / "out"), std::string("hello\0world\0", 12));
}

TEST(OutputFileTest, KeepsOrDiscardsWhatIsThere) {
  const test::TempFolder folder;
  OutputFile(folder / "out", "target", OutputFile::Content::kNew).write_at(0, bytes("old text"));
  OutputFile(folder / "out", "target", OutputFile::Content::kKeep).write_at(0, bytes("new"));
  EXPECT_EQ(test::read_text(folder / "out"), "new text");
  OutputFile(folder / "out", "target", OutputFile::Content::kDiscard).write_at(0, bytes("new"));
  EXPECT_EQ(test::read_text(folder / "out"), "new");
}

TEST(OutputFileTest, KeepingNeedsAFile) {
  const test::TempFolder folder;
  EXPECT_THROW(OutputFile(folder / "out", "target", OutputFile::Content::kKeep), Error);
  EXPECT_FALSE(std::filesystem::exists(folder / "out"));
}

TEST(OutputFileTest, MemoryHintsLeaveTheContentAlone) {
  const test::TempFolder folder;
  const std::string text(1 << 20, 'x');
  OutputFile file(folder / "out", "target", OutputFile::Content::kNew);
  file.write_at(0, bytes(text));
  file.write_behind(0, text.size());
  file.forget(0, text.size() / 2);
  EXPECT_EQ(test::read_text(folder / "out"), text);
}

TEST(OutputFileTest, FaultsNameTheTarget) {
  const test::TempFolder folder;
  try {
    OutputFile(folder / "absent/out.partial", "the target", OutputFile::Content::kDiscard);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "the target: cannot write here: No such file or directory");
  }
}

// What others put under a name that can be foreseen is not written to, and not another run's file either.
TEST(OutputFileTest, NeverWritesThroughALink) {
  const test::TempFolder folder;
  for (const auto content : {OutputFile::Content::kNew, OutputFile::Content::kDiscard, OutputFile::Content::kKeep}) {
    write_file(folder / "victim", "precious");
    std::filesystem::create_symlink(folder / "victim", folder / "link");
    std::filesystem::create_hard_link(folder / "victim", folder / "name");
    ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
    for (const char* name : {"link", "name", "pipe"}) {
      EXPECT_THROW(OutputFile(folder / name, "target", content), Error) << name;
    }
    EXPECT_EQ(test::read_text(folder / "victim"), "precious");
    for (const char* name : {"link", "name", "pipe"}) std::filesystem::remove(folder / name);
  }
}

TEST(OutputFileTest, OneRunAtATime) {
  const test::TempFolder folder;
  OutputFile first(folder / "out.partial", "out", OutputFile::Content::kDiscard);
  first.write_at(0, bytes("of the first"));
  for (const auto content : {OutputFile::Content::kDiscard, OutputFile::Content::kKeep}) {
    EXPECT_EQ(test::error_of([&] { OutputFile(folder / "out.partial", "out", content); }),
              "out: another run is writing it");
  }
  EXPECT_EQ(test::read_text(folder / "out.partial"), "of the first");
  first.close();
  EXPECT_NO_THROW(OutputFile(folder / "out.partial", "out", OutputFile::Content::kKeep));
}

TEST(OutputFileTest, Moves) {
  const test::TempFolder folder;
  OutputFile first(folder / "out", "target", OutputFile::Content::kNew), second;
  second = std::move(first);
  EXPECT_FALSE(first.is_open());
  ASSERT_TRUE(second.is_open());
  second.write_at(0, bytes("text"));
  second.close();
  EXPECT_FALSE(second.is_open());
  EXPECT_EQ(test::read_text(folder / "out"), "text");
}

}  // namespace
}  // namespace steelyard
