// Text within HTML and SVG.
#pragma once

#include <string>
#include <string_view>

namespace steelyard {

/// With entities for &, <, > and ", so that it stands for itself in an element or a quoted attribute.
inline std::string marked_up(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '"')
      out += "&quot;";
    else
      out += c;
  }
  return out;
}

}  // namespace steelyard
