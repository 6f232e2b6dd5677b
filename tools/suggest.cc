#include "suggest.h"

#include <algorithm>
#include <vector>

namespace steelyard::tools {
namespace {

// The edit distance of Damerau and Levenshtein in which no letter is edited twice ("optimal string alignment").
size_t distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] == b[j - 1] ? 0u : 1u)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) row[j] = std::min(row[j], before[j - 2] + 1);
    }
    before.swap(last);
    last.swap(row);
  }
  return last[b.size()];
}

}  // namespace

std::string nearest_word(std::string_view word, std::span<const std::string> known) {
  constexpr size_t kLongest = 64;  // no flag is longer, and the distance takes the square of the length
  if (word.size() > kLongest) return "";
  // Dashes say nothing about which word is meant.
  const auto bare = [](std::string_view text) {
    return text.substr(std::min(text.find_first_not_of('-'), text.size()));
  };
  const std::string_view wanted = bare(word);
  std::string best;
  size_t least = wanted.size() / 3 + 1;
  for (const std::string& candidate : known) {
    const size_t edits = distance(wanted, bare(candidate));
    if (edits < std::min(least, bare(candidate).size())) {
      least = edits;
      best = candidate;
    }
  }
  return best;
}

}  // namespace steelyard::tools
