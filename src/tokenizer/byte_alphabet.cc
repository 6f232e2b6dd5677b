// See byte_alphabet.h. All characters lie below U+0144, so a table of that size inverts the alphabet.
#include "tokenizer/byte_alphabet.h"

#include <array>
#include <cstdint>

namespace steelyard::tokenizer {
namespace {

constexpr int kAlphabetEnd = 256 + 68;  // 68 bytes do not stand for themselves

struct Alphabet {
  std::array<uint16_t, 256> character{};
  std::array<int16_t, kAlphabetEnd> byte{};
};

constexpr Alphabet make_alphabet() {
  Alphabet a;
  a.byte.fill(-1);
  int next = 256;
  for (int b = 0; b < 256; ++b) {
    const bool itself = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
    const int c = itself ? b : next++;
    a.character[b] = static_cast<uint16_t>(c);
    a.byte[c] = static_cast<int16_t>(b);
  }
  return a;
}

constexpr Alphabet kAlphabet = make_alphabet();

}  // namespace

std::optional<std::string> bytes_of_spelling(std::string_view spelling) {
  std::string bytes;
  bytes.reserve(spelling.size());
  for (size_t i = 0; i < spelling.size(); ++i) {
    unsigned c = static_cast<uint8_t>(spelling[i]);
    if (c >= 0x80) {  // the alphabet needs no more than two bytes of UTF-8: 110xxxxx 10xxxxxx
      if (c < 0xC2 || c > 0xDF || i + 1 == spelling.size()) return std::nullopt;
      const unsigned low = static_cast<uint8_t>(spelling[++i]);
      if ((low & 0xC0u) != 0x80u) return std::nullopt;
      c = (c & 0x1Fu) << 6 | (low & 0x3Fu);
    }
    if (c >= kAlphabetEnd || kAlphabet.byte[c] < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(kAlphabet.byte[c]));
  }
  return bytes;
}

std::string spelling_of_bytes(std::string_view bytes) {
  std::string spelling;
  for (const char b : bytes) {
    const unsigned c = kAlphabet.character[static_cast<uint8_t>(b)];
    if (c < 0x80) {
      spelling.push_back(static_cast<char>(c));
    } else {
      spelling.push_back(static_cast<char>(0xC0u | c >> 6));
      spelling.push_back(static_cast<char>(0x80u | (c & 0x3Fu)));
    }
  }
  return spelling;
}

}  // namespace steelyard::tokenizer
