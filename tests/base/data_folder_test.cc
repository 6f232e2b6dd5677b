#include "base/data_folder.h"

#include <cstdlib>
#include <filesystem>

#include "base/error.h"
#include "support.h"

namespace steelyard {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> places(const std::string& program_folder) { return data_places(program_folder, "plans"); }

TEST(DataFolder, OfAnInstalledProgramIsInShare) {
  EXPECT_EQ(places("/usr/bin"), (std::vector<fs::path>{"/usr/share/steelyard/plans"}));
  EXPECT_EQ(places("/opt/steelyard/bin"), (std::vector<fs::path>{"/opt/steelyard/share/steelyard/plans"}));
}

TEST(DataFolder, OfABuildTreeIsTheSourceTrees) {
  EXPECT_EQ(places("/src/build"), (std::vector<fs::path>{"/src/share/steelyard/plans", "/src/plans"}));
  EXPECT_EQ(places("/src/build-asan").back(), "/src/plans");
  EXPECT_EQ(places("/src/build/tests").back(), "/src/plans");
}

TEST(DataFolder, OtherFoldersAreNoBuildTrees) {
  EXPECT_EQ(places("/src/builds").size(), 1u);
  EXPECT_EQ(places("/src/build/tests/deeper").size(), 1u);
}

// This test runs in a build tree, whose plans are those of the sources.
TEST(DataFolder, IsFoundFromWhereverTheProgramStands) {
  ::unsetenv("STEELYARD_PLANS");
  if (data_places(fs::read_symlink("/proc/self/exe").parent_path(), "plans").size() == 1) {
    GTEST_SKIP() << "the build folder is not called build";
  }
  const fs::path before = fs::current_path();
  fs::current_path("/");
  const std::string found = data_folder("plans");
  fs::current_path(before);
  EXPECT_TRUE(fs::equivalent(found, STEELYARD_SOURCE_DIR "/plans")) << found;
  EXPECT_TRUE(fs::exists(fs::path(data_folder("calibration")) / "default.txt"));
}

TEST(DataFolder, TheEnvironmentDecides) {
  ::setenv("STEELYARD_PLANS", "/somewhere/else", /*overwrite=*/1);
  const std::string found = data_folder("plans");
  ::unsetenv("STEELYARD_PLANS");
  EXPECT_EQ(found, "/somewhere/else");
}

TEST(DataFolder, ErrorNamesEveryPlace) {
  try {
    data_folder("nothing");
    FAIL() << "found";
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find("share/steelyard/nothing"), std::string::npos) << message;
    EXPECT_NE(message.find("STEELYARD_NOTHING"), std::string::npos) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  }
}

}  // namespace
}  // namespace steelyard
