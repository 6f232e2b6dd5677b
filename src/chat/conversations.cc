#include "chat/conversations.h"

#include "base/error.h"
#include "chat/template.h"

namespace steelyard::chat {
namespace {

// The value of a name, or null.
Json field(const Json& object, const char* name) {
  const auto found = object.find(name);
  return found == object.end() ? Json() : *found;
}

void check_message(const Json& message, const std::string& where) {
  if (!message.is_object() || !field(message, "role").is_string()) fail(where, "a message is an object with a role");
  const Json content = field(message, "content");
  if (!content.is_null() && !content.is_string() && !content.is_array()) {
    fail(where, "content of a message is a text, a list of parts, or null");
  }
}

Conversation parse_line(std::string_view line, const std::string& where) {
  const Json json = parse_json(line);
  if (json.is_discarded()) fail(where, "is not JSON");
  if (!json.is_object()) fail(where, "expected an object with messages");
  Conversation conversation{field(json, "messages"), field(json, "tools"), field(json, "chat_template_kwargs")};
  if (!conversation.messages.is_array() || conversation.messages.empty()) {
    fail(where, "messages: expected a list of at least one");
  }
  for (const Json& message : conversation.messages) check_message(message, where);
  if (!conversation.tools.is_null() && !conversation.tools.is_array()) fail(where, "tools: expected a list");
  if (!conversation.kwargs.is_null() && !conversation.kwargs.is_object()) {
    fail(where, "chat_template_kwargs: expected an object");
  }
  return conversation;
}

}  // namespace

std::vector<Conversation> parse_conversations(std::string_view content, const std::string& where) {
  std::vector<Conversation> conversations;
  for (size_t number = 1; !content.empty(); ++number) {
    const size_t end = std::min(content.find('\n'), content.size());
    const std::string_view line = content.substr(0, end);
    content.remove_prefix(std::min(end + 1, content.size()));
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    conversations.push_back(parse_line(line, fmt::format("{}: line {}", where, number)));
  }
  if (conversations.empty()) fail(where, "has no conversations");
  return conversations;
}

Json first_messages(const Conversation& conversation, size_t n, bool add_generation_prompt) {
  Json messages = Json::array();
  for (size_t i = 0; i < n; ++i) messages.push_back(conversation.messages[i]);
  return template_input(std::move(messages), conversation.tools, conversation.kwargs, add_generation_prompt);
}

std::vector<std::string> texts(const Json& message) {
  const Json content = field(message, "content");
  if (content.is_string()) return {content.get<std::string>()};
  std::vector<std::string> parts;
  if (!content.is_array()) return parts;
  for (const Json& part : content) {
    if (!part.is_object()) continue;
    if (const Json text = field(part, "text"); text.is_string()) parts.push_back(text.get<std::string>());
  }
  return parts;
}

}  // namespace steelyard::chat
