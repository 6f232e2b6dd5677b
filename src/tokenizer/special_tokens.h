// Finds tokens that appear in text by their own name, like <|user|>, and so divides text into those tokens and the
// plain text between them. User-defined tokens are always found. Control and unknown tokens are found only on demand,
// because text from outside must not be able to forge them.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "tokenizer/vocabulary.h"

namespace steelyard::tokenizer {

/// A part of the text: one token when `token` >= 0, plain text otherwise.
struct Fragment {
  std::string_view text;
  TokenId token = -1;
};

class SpecialTokens {
 public:
  /// Keeps views into `vocabulary`.
  explicit SpecialTokens(const Vocabulary& vocabulary);
  SpecialTokens(const SpecialTokens&) = delete;  // starting_ points into tokens_
  SpecialTokens& operator=(const SpecialTokens&) = delete;

  /// The fragments of `text` in order; joined they are `text`. Where tokens overlap the longest wins, then the one with
  /// the lowest id, then the leftmost.
  std::vector<Fragment> divide(std::string_view text, bool parse_special) const;

 private:
  struct Token {
    std::string_view text;
    TokenId id;
    bool on_demand;
  };
  static std::span<const Token> with_byte(std::span<const Token> tokens, size_t at, char byte);

  std::vector<Token> tokens_;                         // sorted by text
  std::array<std::span<const Token>, 256> starting_;  // the tokens that start with a byte
};

}  // namespace steelyard::tokenizer
