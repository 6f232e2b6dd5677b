// See sentencepiece_spelling.h.
#include "tokenizer/sentencepiece_spelling.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "base/error.h"

namespace steelyard::tokenizer {
namespace {

constexpr std::string_view kTokensKey = "tokenizer.ggml.tokens";

std::optional<uint8_t> byte_of_spelling(std::string_view spelling) {
  if (spelling.size() != 6 || !spelling.starts_with("<0x") || !spelling.ends_with('>')) return std::nullopt;
  uint8_t byte = 0;
  const char* const end = spelling.data() + 5;
  const auto [parsed, error] = std::from_chars(spelling.data() + 3, end, byte, 16);
  return error == std::errc() && parsed == end ? std::optional(byte) : std::nullopt;
}

}  // namespace

std::string_view first_character(std::string_view text) {
  constexpr uint8_t kLengths[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 3, 4};
  return text.substr(0, kLengths[static_cast<uint8_t>(text[0]) >> 4]);
}

void append_escaped(std::string_view text, std::string& result) {
  result.reserve(result.size() + text.size() + text.size() / 2);
  for (const char c : text) {
    if (c == ' ') {
      result += kSpaceSpelling;
    } else {
      result += c;
    }
  }
}

std::string with_spaces(std::string_view text) {
  std::string result;
  for (size_t done = 0; done < text.size();) {
    const size_t space = std::min(text.find(kSpaceSpelling, done), text.size());
    result += text.substr(done, space - done);
    if (space < text.size()) result += ' ';
    done = space + kSpaceSpelling.size();
  }
  return result;
}

std::array<TokenId, 256> byte_tokens(const Vocabulary& vocabulary) {
  std::array<TokenId, 256> tokens;
  for (int b = 0; b < 256; ++b) {
    tokens[static_cast<size_t>(b)] = vocabulary.find(fmt::format("<0x{:02X}>", b)).value_or(-1);
  }
  return tokens;
}

void check_byte_tokens(const gguf::Metadata& metadata, const Vocabulary& vocabulary) {
  for (TokenId id = 0; id < vocabulary.n_tokens(); ++id) {
    if (vocabulary.type(id) != TokenType::kByte || byte_of_spelling(vocabulary.text(id))) continue;
    fail(key_location(metadata, kTokensKey), "token {} is a byte, but it is spelled '{}', expected <0x00> to <0xFF>",
         id, printable(vocabulary.text(id)));
  }
}

char byte_of(std::string_view spelling) { return static_cast<char>(byte_of_spelling(spelling).value()); }

Words::Words(const Vocabulary& vocabulary) {
  for (TokenId id = 0; id < vocabulary.n_tokens(); ++id) {
    const std::string_view text = vocabulary.text(id);
    for (size_t at = text.find(kSpaceSpelling, 1); at != std::string_view::npos;
         at = text.find(kSpaceSpelling, at + 1)) {
      if (!text.substr(0, at).ends_with(kSpaceSpelling)) goes_on_after_.set(static_cast<uint8_t>(text[at - 1]));
    }
  }
}

std::string_view Words::first(std::string_view text) const {
  bool after_space = true;
  for (size_t i = 0; i < text.size();) {
    const std::string_view character = first_character(text.substr(i));
    const bool is_space = character == kSpaceSpelling;
    if (is_space && !after_space && !goes_on_after_[static_cast<uint8_t>(text[i - 1])]) return text.substr(0, i);
    after_space = is_space;
    i += character.size();
  }
  return text;
}

}  // namespace steelyard::tokenizer
