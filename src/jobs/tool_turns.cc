#include "jobs/tool_turns.h"

#include <algorithm>

#include "chat/answer_parser.h"

namespace steelyard::jobs {
namespace {

bool has_calls(const chat::Json& message) {
  const auto calls = message.find("tool_calls");
  return message["role"] == "assistant" && calls != message.end() && calls->is_array() && !calls->empty();
}

// The schema of a tool's parameters; null where there is no such tool.
const chat::Json* function(const chat::Json& tools, const std::string& name) {
  if (!tools.is_array()) return nullptr;
  for (const chat::Json& tool : tools) {
    if (!tool.is_object()) continue;
    const auto wrapped = tool.find("function");
    const chat::Json& found = wrapped == tool.end() ? tool : *wrapped;
    if (found.is_object() && found.value("name", chat::Json()) == name) return &found;
  }
  return nullptr;
}

bool is_valid(const std::pair<std::string, chat::Json>& call, const chat::Json& tools) {
  const chat::Json* const tool = function(tools, call.first);
  if (tool == nullptr || !call.second.is_object()) return false;
  const chat::Json parameters = tool->value("parameters", chat::Json());
  if (!parameters.is_object()) return true;
  const chat::Json required = parameters.value("required", chat::Json());
  return !required.is_array() || std::ranges::all_of(required, [&](const chat::Json& name) {
    return !name.is_string() || call.second.contains(name.get<std::string>());
  });
}

bool are_valid(const Calls& calls, const chat::Json& tools) {
  return !calls.empty() && std::ranges::all_of(calls, [&](const auto& call) { return is_valid(call, tools); });
}

// Whatever the order of names, and whether a number has a point.
bool are_equal(const chat::Json& a, const chat::Json& b) { return nlohmann::json(a) == nlohmann::json(b); }

}  // namespace

std::vector<ToolTurn> tool_turns(const ConversationText& text, const tokenizer::Tokenizer& tokenizer, int64_t n_answer,
                                 int64_t n_context) {
  std::vector<ToolTurn> turns;
  for (size_t c = 0; c < text.conversations().size(); ++c) {
    const chat::Conversation& conversation = text.conversations()[c];
    for (size_t i = 0; i < conversation.messages.size(); ++i) {
      if (!has_calls(conversation.messages[i])) continue;
      try {
        std::vector<tokenizer::TokenId> prompt =
            tokenize(tokenizer, text.chat().render_request(first_messages(conversation, i, true)));
        if (prompt.empty() || std::ssize(prompt) + n_answer > n_context) continue;
        turns.push_back({c, std::move(prompt)});
      } catch (const chat::TemplateError&) {
        continue;  // counted with what the template refuses
      }
    }
  }
  return turns;
}

std::optional<CallsOf> calls_of(const chat::Template& chat, const tokenizer::Tokenizer& tokenizer) {
  const chat::TemplateSource& source = chat.source();
  const chat::AnswerFormat& format = chat::AnswerFormat::of(source.tool_use.empty() ? source.text : source.tool_use);
  if (format.read_calls == nullptr && !format.has_channels) return std::nullopt;
  return [&format, &tokenizer](const std::vector<tokenizer::TokenId>& answer, const ToolTurn& turn,
                               const chat::Conversation& conversation) {
    chat::AnswerParser parser(format, conversation.tools, tokenizer.decode(turn.prompt, /*special=*/true), 0);
    chat::Answer parts;
    for (const tokenizer::TokenId id : answer) parts.add(parser.push(piece_of(tokenizer, format, id)));
    parts.add(parser.finish());
    Calls calls;
    for (const chat::ToolCall& call : parts.calls) calls.emplace_back(call.name, chat::parse_json(call.arguments));
    return calls;
  };
}

ToolCallFigures compare_calls(const ConversationText& text, std::span<const ToolTurn> turns,
                              std::span<const std::vector<tokenizer::TokenId>> answers,
                              std::optional<std::span<const std::vector<tokenizer::TokenId>>> base,
                              const CallsOf& calls_of) {
  ToolCallFigures figures;
  figures.n_turns = std::ssize(turns);
  for (size_t t = 0; t < turns.size(); ++t) {
    const chat::Conversation& conversation = text.conversations()[turns[t].conversation];
    const Calls calls = calls_of(answers[t], turns[t], conversation);
    figures.n_valid += are_valid(calls, conversation.tools);
    if (!base) continue;
    const Calls of_base = calls_of((*base)[t], turns[t], conversation);
    if (!are_valid(of_base, conversation.tools)) continue;
    ++figures.n_base_valid;
    if (!std::ranges::equal(calls, of_base, {}, &Calls::value_type::first, &Calls::value_type::first)) continue;
    ++figures.n_same_names;
    figures.n_same +=
        std::ranges::equal(calls, of_base, are_equal, &Calls::value_type::second, &Calls::value_type::second);
  }
  return figures;
}

}  // namespace steelyard::jobs
