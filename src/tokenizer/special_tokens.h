// Finds tokens that stand in text under their own name, like <|user|>, and so divides text into those tokens and the
// plain text between them. User-defined tokens are always found; control and unknown tokens only on demand, because
// text from outside must not be able to forge them.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tokenizer/vocabulary.h"

namespace steelyard {

/// A stretch of text: one token when `token` >= 0, plain text otherwise.
struct Fragment {
  std::string_view text;
  TokenId token = -1;
};

class SpecialTokens {
 public:
  /// Keeps views into `vocabulary`.
  explicit SpecialTokens(const Vocabulary& vocabulary);

  /// The fragments of `text` in order; joined they are `text`. Where tokens overlap the longest wins, then the one with
  /// the lowest id, then the leftmost.
  std::vector<Fragment> divide(std::string_view text, bool parse_special) const;

 private:
  struct Token {
    TokenId id;
    bool on_demand;
  };
  std::unordered_map<std::string_view, Token> tokens_;
  std::array<std::vector<size_t>, 256> lengths_;  // by first byte: the lengths that tokens starting with it have
};

}  // namespace steelyard
