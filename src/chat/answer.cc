#include "chat/answer.h"

namespace steelyard::chat {

void Answer::add(std::span<const Delta> deltas) {
  for (const Delta& delta : deltas) {
    switch (delta.kind) {
      case Delta::Kind::kReasoning:
        reasoning += delta.text;
        break;
      case Delta::Kind::kContent:
        content += delta.text;
        break;
      case Delta::Kind::kToolCall:
        calls.push_back(delta.call);
        break;
    }
  }
}

Json Answer::message(std::string_view reasoning_field) const {
  Json message = {{"role", "assistant"}, {"content", content}};
  if (!reasoning.empty()) message[std::string(reasoning_field)] = reasoning;
  for (const ToolCall& call : calls) {
    message["tool_calls"].push_back({{"id", call.id},
                                     {"type", "function"},
                                     {"function", {{"name", call.name}, {"arguments", parse_json(call.arguments)}}}});
  }
  return message;
}

}  // namespace steelyard::chat
