// Hashes of keys from files: nobody can choose keys that collide, and no container hashes keys in another way.
#include "base/text_hash.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <set>
#include <sstream>
#include <string>
#include <unordered_set>
#include <vector>

#include "colliding_keys.h"
#include "support.h"

namespace steelyard {
namespace {

TEST(TextHash, SameTextSameHash) {
  for (size_t n = 0; n < 40; ++n) {
    const std::string text(n, 'x');
    EXPECT_EQ(text_hash(text), text_hash(std::string(text)));
    EXPECT_NE(text_hash(text), text_hash(text + "x"));
    EXPECT_NE(text_hash(text), text_hash(text + '\0'));
  }
}

TEST(TextHash, EveryBitOfTheTextCounts) {
  const std::string text = "blk.17.ffn_down_exps.weight";
  std::set<uint64_t> seen = {text_hash(text)};
  for (size_t bit = 0; bit < 8 * text.size(); ++bit) {
    std::string other = text;
    other[bit / 8] = static_cast<char>(other[bit / 8] ^ 1 << bit % 8);
    EXPECT_TRUE(seen.insert(text_hash(other)).second) << bit;
  }
}

TEST(TextHash, KeysThatCollideInTheStandardLibraryDoNot) {
  const std::vector<std::string> keys = test::colliding_keys(2000);
  ASSERT_EQ(std::set<std::string>(keys.begin(), keys.end()).size(), keys.size());
#ifdef __GLIBCXX__
  EXPECT_EQ(std::hash<std::string>()(keys[0]), std::hash<std::string>()(keys[1])) << "these keys prove nothing";
#endif
  std::unordered_set<std::string, TextHash> set(keys.begin(), keys.end());
  size_t longest = 0;
  for (size_t b = 0; b < set.bucket_count(); ++b) longest = std::max(longest, set.bucket_size(b));
  EXPECT_LT(longest, 16u);
}

// Pairs of tokens that differ in their first or second number only, or whose product with the golden ratio begins with
// the same bits.
TEST(NumberHash, NumbersSpread) {
  constexpr int kBits = 12;
  const NumberHash hash;
  std::vector<std::vector<uint64_t>> families(3);
  for (uint64_t i = 0; i < 1 << kBits; ++i) {
    families[0].push_back(i);
    families[1].push_back(i << 32);
  }
  for (uint64_t i = 0; families[2].size() < 1 << kBits; ++i) {
    if (i * 0x9E3779B97F4A7C15u >> 56 == 0) families[2].push_back(i);
  }
  for (const std::vector<uint64_t>& family : families) {
    std::vector<int> slots(1 << kBits);
    for (const uint64_t number : family) ++slots[hash(number) >> (64 - kBits)];
    int used = 0, most = 0;
    for (const int n : slots) {
      used += n > 0;
      most = std::max(most, n);
    }
    EXPECT_GT(used, 1 << (kBits - 3));
    EXPECT_LT(most, 64);
  }
}

// Whoever hashes numbers instead has a file determine them, too: an ordered container does.
TEST(TextHash, NoContainerHashesInAnotherWay) {
  namespace fs = std::filesystem;
  for (const char* folder : {"src", "tools"}) {
    for (const auto& entry : fs::recursive_directory_iterator(std::string(STEELYARD_SOURCE_DIR) + "/" + folder)) {
      const std::string extension = entry.path().extension().string();
      if (extension != ".h" && extension != ".cc") continue;
      std::istringstream lines(test::read_text(entry.path().string()));
      for (std::string line; std::getline(lines, line);) {
        const std::string code = line.substr(0, line.find("//"));
        const bool hashes =
            code.find("std::unordered_") != std::string::npos || code.find("std::hash<") != std::string::npos;
        EXPECT_TRUE(!hashes || code.find("TextHash") != std::string::npos) << entry.path() << ": " << line;
      }
    }
  }
}

}  // namespace
}  // namespace steelyard
