// Calls can be made to fail; and base is the only place that makes them.
#include "base/system_calls.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <regex>

#include "support.h"

namespace steelyard {
namespace {

TEST(FailingCallsTest, OneOrAllFromThenOn) {
  const test::TempFolder folder;
  const auto succeeds = [&] { return System::unlink(folder / "absent") == -1 && errno == ENOENT; };
  for (const bool from_then_on : {false, true}) {
    const FailingCalls failing(2, EIO, from_then_on);
    EXPECT_TRUE(succeeds());
    EXPECT_FALSE(succeeds());
    EXPECT_EQ(errno, EIO);
    EXPECT_EQ(succeeds(), !from_then_on);
    EXPECT_EQ(failing.n_calls(), 3);
    EXPECT_EQ(failing.failed(), "unlink");
  }
  EXPECT_TRUE(succeeds());
  const FailingCalls counting(0, EIO);
  EXPECT_TRUE(succeeds());
  EXPECT_EQ(counting.n_calls(), 1);
}

// A file that is written, locked, renamed or removed elsewhere is outside base's contract, and outside the tests that
// make every call fail.
TEST(SystemCalls, AreMadeInBaseOnly) {
  namespace fs = std::filesystem;
  // Reading a device's counter (measure/energy.cc) and making folders for generated documents need no contract.
  const std::regex calls(
      R"((::|std::)(open|creat|fopen|freopen|rename|unlink|remove|truncate|ftruncate|pwrite|fsync|fdatasync|flock|fallocate|mkostemp|mkstemp|mmap)\()"
      R"(|std::ofstream|std::fstream|filesystem::(remove|remove_all|rename|copy|copy_file|resize_file|create_symlink|permissions)\()");
  for (const std::string folder : {"src", "tools", "python"}) {
    for (const auto& entry : fs::recursive_directory_iterator(std::string(STEELYARD_SOURCE_DIR) + "/" + folder)) {
      const std::string path = entry.path().string();
      if (path.find("/src/base/") != std::string::npos || !(path.ends_with(".cc") || path.ends_with(".h"))) continue;
      const std::string text = test::read_text(path);
      for (std::sregex_iterator at(text.begin(), text.end(), calls), end; at != end; ++at) {
        if (at->str() == "::open(" && text.substr(static_cast<size_t>(at->position()) - 4, 4) == "Base") continue;
        ADD_FAILURE() << path << ": " << at->str();
      }
    }
  }
}

}  // namespace
}  // namespace steelyard
