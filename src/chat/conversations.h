// Conversations as OpenAI's clients send them, one per line of a file:
//
//   {"messages": [{"role": "user", "content": "..."}, ...], "tools": [...], "chat_template_kwargs": {...}}
//
// Only the messages are required, and other names are left alone: what other programs have written can be read too.
// Called by jobs/conversation_text.cc, for calibration and evaluation.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "chat/json.h"

namespace steelyard::chat {

struct Conversation {
  Json messages;  ///< a list of at least one object with a role
  Json tools;     ///< a list, or null
  Json kwargs;    ///< further names for the template: an object, or null
};

/// `where`: the file's name. Error that names the line, for one that is no conversation, and where there is none.
std::vector<Conversation> parse_conversations(std::string_view content, const std::string& where);

/// What a template is given for the first n messages of a conversation.
Json first_messages(const Conversation& conversation, size_t n, bool add_generation_prompt);

/// A message's text: its content, of parts the text of each in turn; empty where it has none.
std::vector<std::string> texts(const Json& message);

}  // namespace steelyard::chat
