// Values as some models write them in calls of tools, in other notations than JSON: Python's, and Gemma 4's, in which
// names have no quotes and <|"|> stands around strings. Called by the readers of calls (call_syntax.h).
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "chat/json.h"

namespace steelyard::chat {

class LiteralReader {
 public:
  enum class Notation { kPython, kGemma };

  /// Keeps a reference to the text.
  LiteralReader(std::string_view text, Notation notation) : text_(text), notation_(notation) {}

  /// The value here: a string, a number, true, false, none, a list, or an object; nothing where none is, or lists are
  /// nested too deeply.
  std::optional<Json> value(int depth = 0);
  /// A name: letters, digits, _ and some more; empty where none is. Gemma's may be a string.
  std::string name();
  /// Takes `token` if it is next, after white space.
  bool take(std::string_view token);
  bool at_end();

 private:
  std::optional<std::string> quoted();
  std::optional<Json> list(std::string_view close, int depth);
  std::optional<Json> object(int depth);
  std::optional<Json> word();
  void skip_space();
  std::string_view rest() const { return text_.substr(at_); }

  std::string_view text_;
  Notation notation_;
  size_t at_ = 0;
};

}  // namespace steelyard::chat
