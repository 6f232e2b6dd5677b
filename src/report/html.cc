#include "report/html.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/error.h"
#include "base/markup.h"
#include "report/style.h"

namespace steelyard::report {

std::string escaped(std::string_view text) { return marked_up(printable(text, SIZE_MAX)); }

std::string escaped_text(std::string_view text, bool blanks) {
  std::string out, plain;
  const auto flush = [&] {
    out += escaped(plain);
    plain.clear();
  };
  for (const char c : text) {
    const char* const sign = c == '\n'            ? "\u21b5"
                             : c == '\t'          ? "\u21e5"
                             : c == '\r'          ? "\u240d"
                             : c == ' ' && blanks ? "\u2423"
                                                  : nullptr;
    if (sign == nullptr) {
      plain += c;
      continue;
    }
    flush();
    out += sign;
  }
  flush();
  return out;
}

std::string bytes_text(uint64_t bytes) {
  if (bytes < 1024) return fmt::format("{} B", bytes);
  auto value = static_cast<double>(bytes);
  const char* unit = "B";
  for (const char* const larger : {"KiB", "MiB", "GiB", "TiB"}) {
    if (value < 1024) break;
    value /= 1024;
    unit = larger;
  }
  return fmt::format("{:.{}f} {}", value, value < 100 ? 2 : 1, unit);
}

std::string count_text(uint64_t n) {
  std::string digits = std::to_string(n);
  for (auto at = static_cast<int64_t>(digits.size()) - 3; at > 0; at -= 3) digits.insert(static_cast<size_t>(at), ",");
  return digits;
}

std::string number_text(double value) {
  if (!std::isfinite(value)) return "–";
  if (value == 0) return "0";
  const double size = std::abs(value);
  if (size < 1e-4 || size >= 1e7) return fmt::format("{:.1e}", value);
  const int place = static_cast<int>(std::floor(std::log10(size)));
  return fmt::format("{:.{}f}", value, std::clamp(3 - place, 0, 7));
}

std::string number_text(double value, double standard_error) {
  if (!std::isfinite(value) || !std::isfinite(standard_error) || !(standard_error > 0)) return number_text(value);
  const int place = static_cast<int>(std::floor(std::log10(standard_error)));
  const int decimals = std::clamp(1 - place, 0, 9);
  return fmt::format("{:.{}f} ± {:.{}f}", value, decimals, standard_error, decimals);
}

std::string error_text(double value) {
  if (!std::isfinite(value)) return "–";
  if (value == 0) return "0";
  const int place = static_cast<int>(std::floor(std::log10(std::abs(value))));
  if (place < -7) return fmt::format("{:.0e}", value);
  return fmt::format("{:.{}f}", value, std::clamp(1 - place, 0, 8));
}

std::string percent_text(double share) {
  if (!std::isfinite(share)) return "–";
  return fmt::format("{:.{}f} %", 100 * share, share != 0 && std::abs(share) < 0.1 ? 2 : 1);
}

void Table::add(const std::vector<std::string>& html_cells, bool is_marked) {
  STEELYARD_CHECK(html_cells.size() == columns_.size());
  rows_ += is_marked ? "<tr class=\"marked\">" : "<tr>";
  for (size_t i = 0; i < columns_.size(); ++i)
    rows_ += fmt::format("<td{}>{}</td>", columns_[i].is_number ? " class=\"n\"" : "", html_cells[i]);
  rows_ += "</tr>\n";
}

std::string Table::html() const {
  std::string head;
  for (const Column& column : columns_)
    head += fmt::format("<th{}>{}</th>", column.is_number ? " class=\"n\"" : "", escaped(column.name));
  return fmt::format("<div class=\"wide\"><table><thead><tr>{}</tr></thead><tbody>\n{}</tbody></table></div>\n", head,
                     rows_);
}

std::string section(std::string_view title, std::string_view about_html, std::string_view body_html) {
  return fmt::format("<section><h2>{}</h2>\n{}{}</section>\n", escaped(title),
                     about_html.empty() ? "" : fmt::format("<p class=\"about\">{}</p>\n", about_html), body_html);
}

std::string tiles(const std::vector<Tile>& tiles) {
  std::string out = "<div class=\"tiles\">";
  for (const Tile& tile : tiles)
    out += fmt::format(
        "<div class=\"tile\"><span class=\"label\">{}</span><span class=\"value\">{}</span><span "
        "class=\"below\">{}</span></div>",
        escaped(tile.label), escaped(tile.value), escaped(tile.below));
  return out + "</div>\n";
}

std::string page(std::string_view title, std::string_view subtitle, std::string_view body_html) {
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
      "<meta name=\"color-scheme\" content=\"light dark\"/>\n<title>{}</title>\n<style>\n{}</style>\n</head>\n<body>\n"
      "<main>\n<header><h1>{}</h1>\n<p class=\"sub\">{}</p></header>\n{}</main>\n</body>\n</html>\n",
      escaped(title), kStyle, escaped(title), escaped(subtitle), body_html);
}

}  // namespace steelyard::report
