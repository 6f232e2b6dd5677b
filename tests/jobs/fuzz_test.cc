// The fuzz target on a bounded, repeatable walk: mutations of a saved text, some of them of its words and numbers, so
// that not all of them stop at the grammar of JSON.
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "fuzz/saved_text_fuzz.cc"  // NOLINT: the target is a program of its own elsewhere

namespace steelyard::jobs {
namespace {

using Random = std::mt19937_64;

size_t below(Random& random, size_t n) { return n == 0 ? 0 : random() % n; }

std::string small_text() {
  SavedText text{.n_ctx = 6, .write = {{"seed", 1}, {"temp", 1.5}}, .chunks = {}};
  for (int32_t c = 0; c < 4; ++c) {
    text.chunks.push_back({.ids = {c, 65, 200 + c, 268, 271, 10},
                           .starts = c % 2 == 0 ? std::vector<int64_t>{0} : std::vector<int64_t>{0, 2, 5}});
  }
  return print(text, 4, fuzzed_vocabulary());
}

void mutate(std::string& content, Random& random) {
  static const std::vector<std::string> kWords = {
      "0",    "-1",   "1",  "6",  "7",  "271", "272", "1e9", "0.5", "9223372036854775807", "18446744073709551616",
      "null", "true", "[]", "{}", "\"", "\n",  ",",   ":",   "[",   "{\"ids\":[]}\n",      "\xff",
  };
  const size_t at = below(random, content.size());
  switch (below(random, 6)) {
    case 0:
      content[at] = static_cast<char>(random());
      break;
    case 1:
      content.erase(at, below(random, 20));
      break;
    case 2:
      content.insert(at, content.substr(below(random, content.size()), below(random, 40)));
      break;
    case 3:
      content.resize(at);
      break;
    default: {  // another value in the place of a number
      const size_t first = content.find_first_of("0123456789", at);
      if (first == std::string::npos) break;
      const size_t end = content.find_first_not_of("0123456789", first);
      content.replace(first, end - first, kWords[below(random, kWords.size())]);
    }
  }
}

TEST(SavedTextFuzz, MutatedTextsAreReadOrRefused) {
  const std::string seed = small_text();
  ASSERT_TRUE(read_saved_text(seed));
  constexpr int kRuns = 6000;
  Random random(20240229);
  int n_read = 0;
  for (int i = 0; i < kRuns; ++i) {
    std::string content = seed;
    for (size_t change = 0; change <= below(random, 3) && !content.empty(); ++change) mutate(content, random);
    n_read += read_saved_text(content);
  }
  // Mutations that always or never destroy the text would test little.
  EXPECT_GT(n_read, kRuns / 50);
  EXPECT_LT(n_read, kRuns / 2);
}

// A value that is nested as deep as the file is long, a line of nothing but small parts or names: none takes more stack
// or time than the file justifies.
TEST(SavedTextFuzz, FilesMadeToCostMuch) {
  const std::string seed = small_text();
  const size_t header_end = seed.find('\n') + 1;
  for (const std::string part : {"[", "{\"a\":", "[0,", "\"\",", "{},"}) {
    std::string many;
    for (int i = 0; i < 300'000; ++i) many += part;
    for (const std::string& before :
         {std::string(), seed.substr(0, header_end), seed.substr(0, header_end) + "{\"ids\":["}) {
      EXPECT_FALSE(read_saved_text(before + many + "\n"));
    }
  }
  std::string names = seed.substr(0, header_end) + "{";
  for (int i = 0; i < 300'000; ++i) names += "\"" + std::to_string(i) + "\":0,";
  EXPECT_FALSE(read_saved_text(names + "\"ids\":[]}\n"));
  EXPECT_FALSE(read_saved_text(seed.substr(0, header_end) + std::string(300'000, '\n')));
}

}  // namespace
}  // namespace steelyard::jobs
