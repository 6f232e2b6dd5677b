// The one shape of every failure: exit status 1, one line on stderr that names the program and the reason, no file
// written or changed, all on a machine with little memory. Fixture of the bad_*_test.cc of this folder.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "cli/command.h"
#include "support.h"

namespace steelyard::test {

/// Far more than a model of a few MB needs, far less than the numbers in a malformed file ask for.
inline constexpr rlim_t kSmallMemory = rlim_t{512} << 20;

class FailureTest : public testing::Test {
 protected:
  // Every thread takes address space of its own: on a machine with many cores they alone would exceed the limit.
  FailureTest() { ::setenv("OMP_NUM_THREADS", "2", /*overwrite=*/1); }

  /// `command` must fail for a `reason` that its message contains.
  void expect_failure(const std::vector<std::string>& command, const std::string& reason, CommandLimits limits = {}) {
    limits.address_space = kSmallMemory;
    const auto before = files();
    const CommandResult result = run_command(command, limits);
    std::string shown;
    for (const std::string& word : command) shown += word.substr(0, 200) + " ";
    EXPECT_EQ(result.exit_code, 1) << shown << "\nsignal " << result.signal << "\n" << result.err;
    EXPECT_TRUE(is_one_line(result.err)) << shown << "\n" << result.err;
    EXPECT_TRUE(result.err.starts_with("steelyard: ")) << shown << "\n" << result.err;
    EXPECT_NE(result.err.find(reason), std::string::npos) << shown << "\nlacks \"" << reason << "\": " << result.err;
    EXPECT_TRUE(files() == before) << shown << "\nleft a file behind or changed one";
  }

  /// The same for the binary's arguments.
  void expect_fails(std::vector<std::string> arguments, const std::string& reason, const CommandLimits& limits = {}) {
    arguments.insert(arguments.begin(), STEELYARD_BINARY);
    expect_failure(arguments, reason, limits);
  }

  /// Writes a file into the test's folder; returns its path.
  std::string file(const std::string& name, const std::string& content) {
    std::ofstream(folder_ / name, std::ios::binary) << content;
    return folder_ / name;
  }

  /// Kills of a test that kills at random moments: STEELYARD_KILLS, or `usual`.
  static int kills(int usual) {
    const char* wanted = std::getenv("STEELYARD_KILLS");
    return wanted != nullptr ? std::atoi(wanted) : usual;
  }

  /// A run that can be gone on with holds its file of progress from the beginning; it is empty until something is
  /// saved.
  static bool has_progress(const std::string& path) {
    std::error_code absent;
    return std::filesystem::file_size(path, absent) > 0 && !absent;
  }

  /// Path → content of all files in the test's folder.
  std::map<std::string, std::string> files() const {
    std::map<std::string, std::string> found;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_ / "")) {
      found[entry.path()] = entry.is_regular_file() ? read_text(entry.path()) : "";
    }
    return found;
  }

  const TempFolder folder_;
  const std::string out_ = folder_ / "out.gguf";
  const std::string llama_ = golden("models/llama/model.gguf");
  const std::string deepseek_ = golden("models/deepseek2/model.gguf");
  const std::string wide_ = golden("imatrix/deepseek2_k256/model.gguf");  // rows divide into blocks of 256
  const std::string text_ = golden("imatrix/text.txt");
};

}  // namespace steelyard::test
