// Where tests find their data, and how they read it.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace steelyard::test {

/// A path inside tests/golden of the source tree.
inline std::string golden(const std::string& path) {
  return std::string(STEELYARD_SOURCE_DIR) + "/tests/golden/" + path;
}

/// Reference data that is too large for the repository: the folder named by STEELYARD_SHARED, or ../shared beside the
/// source tree. A test that needs it skips, saying so, when it is absent.
inline std::string shared(const std::string& path) {
  const char* folder = std::getenv("STEELYARD_SHARED");
  return (folder ? std::string(folder) : std::string(STEELYARD_SOURCE_DIR) + "/../shared") + "/" + path;
}

inline std::string read_text(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in.good()) << "cannot read " << path;
  return {std::istreambuf_iterator<char>(in), {}};
}

/// The whole file as values of T.
template <typename T>
std::vector<T> read_values(const std::string& path) {
  const std::string bytes = read_text(path);
  std::vector<T> values(bytes.size() / sizeof(T));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
  return values;
}

/// A fresh empty folder, removed with everything in it when the object dies.
class TempFolder {
 public:
  TempFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "steelyard-test-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  ~TempFolder() { std::filesystem::remove_all(path_); }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace steelyard::test
