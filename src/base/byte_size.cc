#include "base/byte_size.h"

#include <array>
#include <charconv>
#include <cmath>
#include <string>

#include "base/error.h"

namespace steelyard {
namespace {

constexpr std::string_view kTimes = "\xC3\x97";  // the sign of multiplication in UTF-8

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t");
  return begin == text.npos ? "" : text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

// 0 for an unknown unit.
double factor_of(std::string_view unit) {
  std::string lower;
  for (const char c : unit) lower += static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  if (lower.empty() || lower == "b") return 1;
  const size_t power = std::string_view("kmgt").find(lower[0]);
  const std::string_view rest = std::string_view(lower).substr(1);
  if (power == std::string_view::npos) return 0;
  if (rest.empty() || rest == "b") return std::pow(1000, power + 1);
  return rest == "ib" || rest == "i" ? std::pow(1024, power + 1) : 0;
}

// "24GiB", 6 of "24GiBx6"; the count is 1 without a repetition.
std::pair<std::string_view, size_t> repeated(std::string_view item) {
  size_t at = item.find(kTimes), length = kTimes.size();
  if (at == item.npos) {
    at = item.find_first_of("xX*");
    length = 1;
  }
  if (at == item.npos) return {item, 1};
  const std::string_view count = trimmed(item.substr(at + length));
  size_t n = 0;
  const auto [end, error] = std::from_chars(count.data(), count.data() + count.size(), n);
  if (error != std::errc() || end != count.data() + count.size() || n < 1) {
    fail("", "\"{}\": expected a size and how many times, e.g. 24GiBx6", printable(item));
  }
  return {item.substr(0, at), n};
}

}  // namespace

uint64_t parse_bytes(std::string_view text) {
  const std::string_view given = trimmed(text);
  double number = 0;
  const auto [end, error] =
      std::from_chars(given.data(), given.data() + given.size(), number, std::chars_format::fixed);
  const double factor =
      error == std::errc() ? factor_of(trimmed(given.substr(static_cast<size_t>(end - given.data())))) : 0;
  const double bytes = number * factor;
  if (factor == 0 || !(bytes >= 0) || bytes >= std::pow(2, 60)) {
    fail("", "\"{}\" is no size of memory: expected e.g. 24GiB or 16000MB", printable(text));
  }
  return static_cast<uint64_t>(bytes);
}

std::vector<uint64_t> parse_byte_list(std::string_view text) {
  constexpr size_t kMost = 1024;
  std::vector<uint64_t> sizes;
  for (std::string_view rest = text;;) {
    const size_t comma = rest.find(',');
    const auto [size, n] = repeated(rest.substr(0, comma));
    const uint64_t bytes = parse_bytes(size);
    if (n > kMost - sizes.size()) fail("", "\"{}\": more than {} sizes", printable(text), kMost);
    sizes.insert(sizes.end(), n, bytes);
    if (comma == rest.npos) return sizes;
    rest.remove_prefix(comma + 1);
  }
}

}  // namespace steelyard
