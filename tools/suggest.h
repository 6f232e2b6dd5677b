// What a misspelt word most likely stands for.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace steelyard::tools {

/// The word of `known` that takes the fewest edits (a letter more, less or other, or two neighbours swapped) from
/// `word`, the first of equals. Empty when none takes fewer than about a third of the word's letters.
std::string nearest_word(std::string_view word, std::span<const std::string> known);

}  // namespace steelyard::tools
