#include "suggest.h"

#include <algorithm>

#include "base/edit_distance.h"

namespace steelyard::tools {

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
    const size_t edits = edit_distance(wanted, bare(candidate));
    if (edits < std::min(least, bare(candidate).size())) {
      least = edits;
      best = candidate;
    }
  }
  return best;
}

}  // namespace steelyard::tools
