// Finds tokens that appear in text by their own name, like <|user|>, and so divides text into those tokens and the
// plain text between them. User-defined tokens are always found. Control and unknown tokens are found only on demand,
// because text from outside must not be able to forge them.
//
// Tokens and text are foreign. Whatever they are, the time grows with their length times its logarithm, and memory with
// their length.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
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

/// Bytes of a text.
struct TextRange {
  size_t begin, end;
  bool operator==(const TextRange&) const = default;
};

class SpecialTokens {
 public:
  /// `drop_space`: white space behind most of the tokens is left out, as Phi-3 wants it.
  explicit SpecialTokens(const Vocabulary& vocabulary, bool drop_space = false);

  /// The fragments of `text` in order; joined they are `text`, without what is left out. Where tokens overlap the
  /// longest wins, then the one with the lowest id, then the leftmost.
  /// Names of tokens that are found on demand stay text where they overlap with `literal`, in order and disjoint.
  std::vector<Fragment> divide(std::string_view text, bool parse_special,
                               std::span<const TextRange> literal = {}) const;

  /// Whether the token is found only on demand. Of several with one text it is one.
  bool is_on_demand(TokenId id) const { return on_demand_[static_cast<size_t>(id)]; }

 private:
  bool drops_space_after(std::string_view token) const;

  bool drop_space_;
  std::vector<bool> on_demand_;  // by id
  SuffixMatcher always_;         // user-defined tokens
  SuffixMatcher all_;            // those on demand as well
};

}  // namespace steelyard::tokenizer
