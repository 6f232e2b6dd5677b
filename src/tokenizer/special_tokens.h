// Finds tokens that appear in text by their own name, like <|user|>, and so divides text into those tokens and the
// plain text between them. User-defined tokens are always found. Control and unknown tokens are found only on demand,
// because text from outside must not be able to forge them.
//
// Tokens and text are foreign. Whatever they are, the time grows with their length times its logarithm, and memory with
// their length.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "tokenizer/suffix_matcher.h"
#include "tokenizer/vocabulary.h"

namespace steelyard::tokenizer {

/// A part of the text: one token when `token` >= 0, plain text otherwise.
struct Fragment {
  std::string_view text;
  TokenId token = -1;
};

class SpecialTokens {
 public:
  /// `drop_space`: white space behind most of the tokens is left out, as Phi-3 wants it.
  explicit SpecialTokens(const Vocabulary& vocabulary, bool drop_space = false);

  /// The fragments of `text` in order; joined they are `text`, without what is left out. Where tokens overlap the
  /// longest wins, then the one with the lowest id, then the leftmost.
  std::vector<Fragment> divide(std::string_view text, bool parse_special) const;

 private:
  bool drops_space_after(std::string_view token) const;

  bool drop_space_;
  SuffixMatcher always_;  // user-defined tokens
  SuffixMatcher all_;     // those on demand as well
};

}  // namespace steelyard::tokenizer
