// See spm.h.
#include "tokenizer/spm.h"

#include <algorithm>
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

}  // namespace

Spm::Spm(const gguf::Metadata& metadata, const Vocabulary& vocabulary)
    : vocabulary_(vocabulary),
      byte_tokens_(byte_tokens(vocabulary)),
      space_prefix_(metadata.boolean(kSpacePrefixKey, true)),
      words_(vocabulary) {
  read_scores(metadata);
  complete_byte_tokens(metadata);
  check_byte_tokens(metadata, vocabulary);
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

void Spm::complete_byte_tokens(const gguf::Metadata& metadata) {
  for (int b = 0; b < 256; ++b) {
    TokenId& token = byte_tokens_[static_cast<size_t>(b)];
    const char byte = static_cast<char>(b);
    if (token < 0) token = vocabulary_.find({&byte, 1}).value_or(-1);
    if (token < 0) {
      fail(key_location(metadata, kTokensKey), "there is no token '<0x{:02X}>'; each byte needs one", b);
    }
  }
}

SpecialDefaults Spm::defaults() const { return {.add_bos = true, .bos = 1, .eos = 2}; }

void Spm::encode(std::string_view text, bool starts, std::vector<TokenId>& ids) const {
  std::string escaped;
  if (starts && space_prefix_) escaped += kSpaceSpelling;
  append_escaped(text, escaped);

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
  PieceCache cache;
  for (std::string_view rest = escaped; !rest.empty();) {
    const std::string_view word = words_.first(rest);
    cache.append(word, ids, merge_word);
    rest.remove_prefix(word.size());
  }
}

std::string Spm::bytes(TokenId id) const {
  const std::string_view text = vocabulary_.text(id);
  if (vocabulary_.type(id) == TokenType::kByte) return {byte_of(text)};
  return with_spaces(text);
}

}  // namespace steelyard::tokenizer
