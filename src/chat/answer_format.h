// How a model marks what it reasons and the tools that it calls: one row of a table per format, chosen by what the
// model's chat template has in it. Called by AnswerParser, and by whoever decodes tokens for it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "chat/call_syntax.h"
#include "tokenizer/tokenizer.h"

namespace steelyard::chat {

struct AnswerFormat {
  std::string_view name;   ///< for people: "qwen3-coder"
  std::string_view probe;  ///< a text that only templates of this format have; the first row that fits counts
  std::string_view reason_open, reason_close;  ///< stand around reasoning; empty: the model does not reason
  std::string_view call_open;                  ///< opens a call, or several; empty: an answer that begins with { is one
  std::string_view call_close;                 ///< closes it; empty: the end of the answer
  ReadCalls read_calls = nullptr;              ///< null: none are called
  std::string_view bare_open = {};   ///< opens a call of a model that forgets call_open, and is part of the call
  std::string_view bare_close = {};  ///< closes it
  std::string_view reasoning_field = "reasoning_content";  ///< of a message, where the template reads reasoning
  bool has_channels = false;  ///< the answer is a series of messages with headers (gpt-oss)

  /// Of a template's text. A format without calls of tools, when it is of no kind that is known.
  static const AnswerFormat& of(std::string_view chat_template);
  /// All of them, for tests.
  static std::vector<const AnswerFormat*> all();

  /// Whether the name of a control token is part of the format: such tokens are shown to the parser, others are not.
  bool is_markup(std::string_view token) const;
};

/// What the parser is given for a token: its bytes, and a control token's name where it is markup.
std::string piece_of(const tokenizer::Tokenizer& tokenizer, const AnswerFormat& format, tokenizer::TokenId id);

}  // namespace steelyard::chat
