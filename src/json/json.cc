#include "json/json.h"

#include <fmt/format.h>

#include <vector>

namespace steelyard::json {
namespace {

// The library needs a stack as deep as lists are nested, and for an object time that grows with the square of its
// names.
bool is_small(std::string_view text, int64_t most_levels) {
  constexpr int64_t kMostNames = 1000;
  std::vector<int64_t> names(1);  // of the lists and objects that are open
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
      names.push_back(0);
    else if ((c == ']' || c == '}') && names.size() > 1)
      names.pop_back();
    else if (c == ':')
      ++names.back();
    if (std::ssize(names) > most_levels + 1 || names.back() > kMostNames) return false;
  }
  return true;
}

}  // namespace

std::string json_text(const Json& json, int indent) {
  const std::string text = json.dump(indent, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
  std::string out;
  size_t done = 0;
  for (size_t i = 0; i < text.size(); ++i) {  // C0 is escaped already, and controls are in strings only
    const auto byte = static_cast<unsigned char>(text[i]);
    const bool c1 = byte == 0xC2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xA0;
    if (byte != 0x7F && !c1) continue;
    out.append(text, done, i - done);
    out += fmt::format("\\u{:04x}", c1 ? static_cast<unsigned char>(text[i + 1]) : byte);
    i += c1 ? 1 : 0;
    done = i + 1;
  }
  return done == 0 ? text : out.append(text, done);
}

Json parse_json(std::string_view text, int64_t most_levels) {
  return is_small(text, most_levels) ? Json::parse(text, nullptr, /*allow_exceptions=*/false)
                                     : Json(Json::value_t::discarded);
}

}  // namespace steelyard::json
