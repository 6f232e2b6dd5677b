// How large JSON from outside is, before it is parsed: the library wants a stack as deep as lists are nested, and time
// that grows with the square of an object's names.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace steelyard {

/// Whether `text`, if it is JSON, has at most so many levels of lists and objects, and so many names.
inline bool is_small_json(std::string_view text, int64_t most_levels, int64_t most_names) {
  int64_t levels = 0, names = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string && c == '\\')
      ++i;
    else if (c == '"')
      in_string = !in_string;
    else if (in_string)
      continue;
    else if (c == '[' || c == '{')
      ++levels;
    else if (c == ']' || c == '}')
      --levels;
    else if (c == ':')
      ++names;
    if (levels > most_levels || names > most_names) return false;
  }
  return true;
}

}  // namespace steelyard
