// Names that go with the object, or with the process.
#include "base/temporary_file.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <utility>
#include <vector>

#include "base/atomic_file.h"
#include "base/error.h"
#include "support.h"

namespace steelyard {
namespace {

TEST(TemporaryFileTest, GoesWithTheObjectUnlessKept) {
  const test::TempFolder folder;
  const auto exists = [&] { return std::filesystem::exists(folder / "file"); };
  const auto make = [&] {
    write_file(folder / "file", "");
    return TemporaryFile(folder / "file");
  };
  { const TemporaryFile file = make(); }
  EXPECT_FALSE(exists());
  make().keep();
  EXPECT_TRUE(exists());
  TemporaryFile first = make(), second;
  second = std::move(first);
  first.remove();
  EXPECT_TRUE(exists());
  second = TemporaryFile();
  EXPECT_FALSE(exists());
  { const TemporaryFile never_made(folder / "file"); }
}

TEST(TemporaryFileTest, ASignalRemovesAllThatAreThere) {
  const test::TempFolder folder;
  std::vector<TemporaryFile> files;
  for (int i = 0; i < 300; ++i) {
    const std::string path = folder / std::to_string(i);
    write_file(path, "");
    files.emplace_back(path);
  }
  files[7].keep();
  remove_temporary_files();
  const auto left = std::distance(std::filesystem::directory_iterator(folder / ""), {});
  EXPECT_TRUE(std::filesystem::exists(folder / "7"));
  EXPECT_LE(left, 300 - 256 + 1) << "there is room for 256 names";
  files.clear();
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder / ""), {}), 1);
}

TEST(RemoveFile, AbsenceIsNoErrorButAFolderIs) {
  const test::TempFolder folder;
  EXPECT_NO_THROW(remove_file(folder / "absent"));
  EXPECT_THROW(remove_file(folder / ""), Error);
}

}  // namespace
}  // namespace steelyard
