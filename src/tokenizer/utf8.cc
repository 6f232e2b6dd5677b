// See utf8.h.
#include "tokenizer/utf8.h"

#include <cstdint>

namespace steelyard::tokenizer {
namespace {

constexpr uint32_t kReplacement = 0xFFFD;

struct Character {
  uint32_t code;
  size_t length;  // bytes read
};

Character read_character(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<uint8_t>(text[i])); };
  const uint32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  const size_t length = lead < 0xC0 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF8 ? 4 : 0;
  if (length == 0 || length > text.size()) return {kReplacement, 1};
  uint32_t code = lead & (0x7Fu >> length);
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0u) != 0x80u) return {kReplacement, 1};
    code = code << 6 | (byte(i) & 0x3Fu);
  }
  if (code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) return {kReplacement, 1};
  return {code, length};
}

void append(std::string& text, uint32_t code) {
  const auto tail = [&](int shift) { text.push_back(static_cast<char>(0x80u | (code >> shift & 0x3Fu))); };
  if (code < 0x80) {
    text.push_back(static_cast<char>(code));
  } else if (code < 0x800) {
    text.push_back(static_cast<char>(0xC0u | code >> 6));
    tail(0);
  } else if (code < 0x10000) {
    text.push_back(static_cast<char>(0xE0u | code >> 12));
    tail(6);
    tail(0);
  } else {
    text.push_back(static_cast<char>(0xF0u | code >> 18));
    tail(12);
    tail(6);
    tail(0);
  }
}

}  // namespace

std::string valid_utf8(std::string_view text) {
  std::string valid;
  valid.reserve(text.size());
  while (!text.empty()) {
    const Character c = read_character(text);
    append(valid, c.code);
    text.remove_prefix(c.length);
  }
  return valid;
}

}  // namespace steelyard::tokenizer
