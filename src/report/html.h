// Text of a page: what makes any bytes safe to show, how numbers read, tables, and the frame with its style. A page is
// one file: no scripts, nothing that is loaded from elsewhere.
//
// Invariant: whatever comes from outside passes escaped() once, here or in svg.h. Arguments named `html` are markup
// already.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace steelyard::report {

/// `text` as content of an element or of an attribute in double quotes. Control bytes and invalid UTF-8 become \xNN.
std::string escaped(std::string_view text);

/// The same of a token or a part of a text: line breaks and tabs become visible signs. `blanks`: blanks do, too.
std::string escaped_text(std::string_view text, bool blanks);

/// "10.67 GiB", "812.4 KiB", "96 B".
std::string bytes_text(uint64_t bytes);
/// "11,452,226,048".
std::string count_text(uint64_t n);
/// Four significant digits, or two with an exponent: "0.01134", "66.63", "1.2e-07". What is not finite is a dash.
std::string number_text(double value);
/// With an error: "0.01134 ± 0.00021", the digits of the error's second place; without one where it is 0.
std::string number_text(double value, double standard_error);
/// A standard error: two significant digits, "0.00021".
std::string error_text(double value);
/// "92.5 %" of a share; two places below 10 %.
std::string percent_text(double share);

struct Column {
  std::string name;
  bool is_number = false;  ///< to the right
};

/// A table that scrolls on a narrow screen. Its head is repeated on each printed page.
class Table {
 public:
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  /// As many cells as columns.
  void add(const std::vector<std::string>& html_cells, bool is_marked = false);
  std::string html() const;

 private:
  std::vector<Column> columns_;
  std::string rows_;
};

/// A part of a page. `about_html`: one or two sentences under its title.
std::string section(std::string_view title, std::string_view about_html, std::string_view body_html);

/// Large figures side by side.
struct Tile {
  std::string label, value, below;  ///< any text
};
std::string tiles(const std::vector<Tile>& tiles);

/// The whole file.
std::string page(std::string_view title, std::string_view subtitle, std::string_view body_html);

}  // namespace steelyard::report
