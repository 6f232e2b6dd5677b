#include "base/scratch_file.h"

#include <array>
#include <filesystem>

#include "base/error.h"
#include "support.h"

namespace steelyard {
namespace {

TEST(ScratchFile, KeepsBytesAndHasNoName) {
  const test::TempFolder folder;
  ScratchFile file(folder / "");
  const std::array<int, 4> written = {1, 2, 3, 4};
  file.write_at(1 << 20, std::as_bytes(std::span(written)));
  std::array<int, 2> read = {};
  file.read_at((1 << 20) + 2 * sizeof(int), std::as_writable_bytes(std::span(read)));
  EXPECT_EQ(read, (std::array<int, 2>{3, 4}));
  EXPECT_TRUE(std::filesystem::is_empty(folder / ""));
  std::array<int, 5> beyond = {};
  EXPECT_THROW(file.read_at(1 << 20, std::as_writable_bytes(std::span(beyond))), Error);
}

TEST(ScratchFile, MissingFolderIsAnError) { EXPECT_THROW(ScratchFile("/no/such/folder"), Error); }

}  // namespace
}  // namespace steelyard
