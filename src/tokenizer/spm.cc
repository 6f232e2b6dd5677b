// See spm.h.
#include "tokenizer/spm.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

#include "base/error.h"
#include "tokenizer/merger.h"
#include "tokenizer/piece_cache.h"

namespace steelyard::tokenizer {
namespace {

constexpr std::string_view kTokensKey = "tokenizer.ggml.tokens";
constexpr std::string_view kScoresKey = "tokenizer.ggml.scores";
constexpr std::string_view kSpacePrefixKey = "tokenizer.ggml.add_space_prefix";
constexpr std::string_view kSpace = "\u2581";

// The first character of `text`, as llama.cpp reads it: a byte that does not start a character stands alone, and the
// bytes after a lead byte are not checked.
std::string_view first_character(std::string_view text) {
  constexpr uint8_t kLengths[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 3, 4};
  return text.substr(0, kLengths[static_cast<uint8_t>(text[0]) >> 4]);
}

// The byte of a token spelled <0xXX>.
std::optional<uint8_t> byte_of_spelling(std::string_view spelling) {
  if (spelling.size() != 6 || !spelling.starts_with("<0x") || !spelling.ends_with('>')) return std::nullopt;
  uint8_t byte = 0;
  const char* const end = spelling.data() + 5;
  const auto [parsed, error] = std::from_chars(spelling.data() + 3, end, byte, 16);
  return error == std::errc() && parsed == end ? std::optional(byte) : std::nullopt;
}

}  // namespace

Spm::Spm(const gguf::Metadata& metadata, const Vocabulary& vocabulary)
    : vocabulary_(vocabulary), space_prefix_(metadata.boolean(kSpacePrefixKey, true)) {
  read_scores(metadata);
  find_byte_tokens(metadata);
  find_word_ends();
}

void Spm::read_scores(const gguf::Metadata& metadata) {
  const std::vector<double> scores = metadata.reals(kScoresKey);
  const std::string where = key_location(metadata, kScoresKey);
  if (scores.size() != static_cast<size_t>(vocabulary_.n_tokens())) {
    fail(where, "found {} scores for {} tokens", scores.size(), vocabulary_.n_tokens());
  }
  const auto nan = std::ranges::find_if(scores, [](double score) { return std::isnan(score); });
  if (nan != scores.end()) fail(where, "the score of token {} is not a number", nan - scores.begin());
  scores_.assign(scores.begin(), scores.end());
}

void Spm::find_byte_tokens(const gguf::Metadata& metadata) {
  for (int b = 0; b < 256; ++b) {
    const char byte = static_cast<char>(b);
    const std::string name = fmt::format("<0x{:02X}>", b);
    std::optional<TokenId> id = vocabulary_.find(name);
    if (!id) id = vocabulary_.find({&byte, 1});
    if (!id) fail(key_location(metadata, kTokensKey), "there is no token '{}'; each byte needs one", name);
    byte_tokens_[static_cast<size_t>(b)] = *id;
  }
  for (TokenId id = 0; id < vocabulary_.n_tokens(); ++id) {
    if (vocabulary_.type(id) != TokenType::kByte || byte_of_spelling(vocabulary_.text(id))) continue;
    fail(key_location(metadata, kTokensKey), "token {} is a byte, but it is spelled '{}', expected <0x00> to <0xFF>",
         id, printable(vocabulary_.text(id)));
  }
}

void Spm::find_word_ends() {
  for (TokenId id = 0; id < vocabulary_.n_tokens(); ++id) {
    const std::string_view text = vocabulary_.text(id);
    for (size_t at = text.find(kSpace, 1); at != std::string_view::npos; at = text.find(kSpace, at + 1)) {
      if (!text.substr(0, at).ends_with(kSpace)) goes_on_after_.set(static_cast<uint8_t>(text[at - 1]));
    }
  }
}

SpecialDefaults Spm::defaults() const { return {.add_bos = true, .bos = 1, .eos = 2}; }

void Spm::encode(std::string_view text, bool starts, std::vector<TokenId>& ids) const {
  std::string escaped;
  escaped.reserve(text.size() + text.size() / 2);
  if (starts && space_prefix_) escaped += kSpace;
  for (const char c : text) {
    if (c == ' ') {
      escaped += kSpace;
    } else {
      escaped += c;
    }
  }

  Merger merger;
  const auto merge_word = [&](std::string_view word) {
    for (size_t begin = 0; begin < word.size();) {
      const std::string_view character = first_character(word.substr(begin));
      merger.add(vocabulary_.find(character).value_or(-1), begin, character.size());
      begin += character.size();
    }
    const auto join = [&](const Merger::Symbol& left, const Merger::Symbol& right) -> std::optional<Merger::Merge> {
      const std::optional<TokenId> both = vocabulary_.find(word.substr(left.begin, left.length + right.length));
      if (!both) return std::nullopt;
      return Merger::Merge{scores_[static_cast<size_t>(*both)], *both};
    };
    merger.run(join, [&](const Merger::Symbol& symbol) {
      if (symbol.token >= 0) {
        ids.push_back(symbol.token);
        return;
      }
      for (const char byte : word.substr(symbol.begin, symbol.length)) {
        ids.push_back(byte_tokens_[static_cast<uint8_t>(byte)]);
      }
    });
  };
  PieceCache words;
  for (std::string_view rest = escaped; !rest.empty();) {
    const std::string_view word = first_word(rest);
    words.append(word, ids, merge_word);
    rest.remove_prefix(word.size());
  }
}

std::string_view Spm::first_word(std::string_view text) const {
  bool after_space = true;
  for (size_t i = 0; i < text.size();) {
    const std::string_view character = first_character(text.substr(i));
    const bool is_space = character == kSpace;
    if (is_space && !after_space && !goes_on_after_[static_cast<uint8_t>(text[i - 1])]) return text.substr(0, i);
    after_space = is_space;
    i += character.size();
  }
  return text;
}

std::string Spm::bytes(TokenId id) const {
  const std::string_view text = vocabulary_.text(id);
  if (vocabulary_.type(id) == TokenType::kByte) return {static_cast<char>(*byte_of_spelling(text))};
  std::string bytes;
  for (size_t done = 0; done < text.size();) {
    const size_t space = std::min(text.find(kSpace, done), text.size());
    bytes += text.substr(done, space - done);
    if (space < text.size()) bytes += ' ';
    done = space + kSpace.size();
  }
  return bytes;
}

}  // namespace steelyard::tokenizer
