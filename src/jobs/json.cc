#include "jobs/json.h"

namespace steelyard::jobs {
namespace {

bool is_small(std::string_view text) {
  constexpr int64_t kMostLevels = 16, kMostNames = 1000;
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
    if (levels > kMostLevels || names > kMostNames) return false;
  }
  return true;
}

}  // namespace

Json parse_json(std::string_view text) {
  return is_small(text) ? Json::parse(text, nullptr, /*allow_exceptions=*/false) : Json(Json::value_t::discarded);
}

}  // namespace steelyard::jobs
