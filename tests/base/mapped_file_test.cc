#include "base/mapped_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <string>
#include <utility>

#include "base/atomic_file.h"
#include "base/error.h"
#include "support.h"

namespace steelyard {
namespace {

std::string text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

TEST(MappedFileTest, ShowsTheWholeFile) {
  const test::TempFolder folder;
  std::string text;
  for (int i = 0; i < 10000; ++i) text += std::to_string(i);
  write_file(folder / "in", text);
  const MappedFile file(folder / "in");
  EXPECT_EQ(text_of(file), text);
  EXPECT_EQ(file.path(), folder / "in");
}

TEST(MappedFileTest, AnEmptyFileIsAnEmptySpan) {
  const test::TempFolder folder;
  write_file(folder / "in", "");
  EXPECT_TRUE(MappedFile(folder / "in").bytes().empty());
}

TEST(MappedFileTest, MovesKeepTheMapping) {
  const test::TempFolder folder;
  write_file(folder / "a", "first");
  write_file(folder / "b", "second");
  MappedFile a(folder / "a");
  const std::byte* data = a.bytes().data();
  MappedFile moved(std::move(a));
  EXPECT_EQ(moved.bytes().data(), data);
  MappedFile b(folder / "b");
  b = std::move(moved);
  EXPECT_EQ(text_of(b), "first");
  EXPECT_EQ(b.path(), folder / "a");
}

TEST(MappedFileTest, OutlivesTheNameOfTheFile) {
  const test::TempFolder folder;
  write_file(folder / "in", "old");
  const MappedFile file(folder / "in");
  write_file(folder / "in", "new");
  EXPECT_EQ(text_of(file), "old") << "an output may replace the input it is made from";
}

TEST(MappedFileTest, RefusesWhatIsNoFile) {
  const test::TempFolder folder;
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  EXPECT_THROW(MappedFile(folder / "absent"), Error);
  EXPECT_THROW(MappedFile(folder / ""), Error);
  EXPECT_THROW(MappedFile(folder / "pipe"), Error);  // and does not wait for a writer
  EXPECT_THROW(MappedFile("/dev/zero"), Error);
  EXPECT_THROW(read_file(folder / "absent"), Error);
}

}  // namespace
}  // namespace steelyard
