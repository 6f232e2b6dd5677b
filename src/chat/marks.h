// Keeps apart what a template writes and what users wrote, where both spell control tokens.
//
// Before a conversation is rendered, marks go around every control token that its texts spell: two characters that
// occur neither in the conversation nor in the template. After that they show which of the control tokens in the result
// came from there. A token whose parts come from several texts, or from a text and the template, has a mark inside: an
// end of a text that could begin a token is marked as well, and a beginning that could end one. Marks stand where they
// hide as little as possible from a template that looks into a text: `'</think>' in content` and `split` still find it.
// Called by Template.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>

#include "base/text_hash.h"
#include "chat/json.h"
#include "chat/rendered.h"
#include "tokenizer/suffix_matcher.h"
#include "tokenizer/tokenizer.h"

namespace steelyard::chat {

class Marks {
 public:
  /// The control tokens of a model, whose names it keeps references to.
  explicit Marks(const tokenizer::Tokenizer& tokenizer);

  /// Two characters, as UTF-8, that none of `texts` has.
  struct Pair {
    std::string open, close;
  };
  static Pair choose(std::initializer_list<std::string_view> texts);

  /// `json` with marks in all its texts, names of fields included; whether there are any.
  bool mark(Json& json, const Pair& pair) const;

  /// The text without its marks, and what they say.
  Rendered unmark(std::string_view text, const Pair& pair) const;

 private:
  bool mark(std::string& text, const Pair& pair) const;

  tokenizer::SuffixMatcher matcher_;
  // Proper beginnings and ends of control tokens.
  std::unordered_set<std::string_view, TextHash, std::equal_to<>> beginnings_, ends_;
  size_t longest_ = 0;  // of them
};

}  // namespace steelyard::chat
