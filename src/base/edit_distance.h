// How far a misspelt word is from one that is known. For messages that suggest what was meant.
#pragma once

#include <cstddef>
#include <string_view>

namespace steelyard {

/// The fewest edits that make one word of the other: a letter more, less or other, or two neighbours swapped. No letter
/// is edited twice (the distance of Damerau and Levenshtein, restricted to "optimal string alignment"). Takes the
/// product of both lengths: limit them where words come from outside.
size_t edit_distance(std::string_view a, std::string_view b);

}  // namespace steelyard
