#include "chat/call_syntax.h"

#include <algorithm>

#include "chat/literals.h"

namespace steelyard::chat {
namespace {

using Calls = std::vector<ToolCall>;

constexpr std::string_view kSpace = " \t\r\n";

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) + 1 - begin);
}

// A value between tags on lines of their own, without these line ends.
std::string_view without_line_ends(std::string_view text) {
  if (text.starts_with('\n')) text.remove_prefix(1);
  if (text.ends_with('\n')) text.remove_suffix(1);
  return text;
}

// Reads a text of tags from its beginning.
class Tags {
 public:
  explicit Tags(std::string_view text) : rest_(text) {}

  // Takes `tag` if it is next, after white space.
  bool take(std::string_view tag) {
    const size_t begin = rest_.find_first_not_of(kSpace);
    if (begin == std::string_view::npos || !rest_.substr(begin).starts_with(tag)) return false;
    rest_.remove_prefix(begin + tag.size());
    return true;
  }
  // The text before the next `tag`, and the tag; nothing where there is none.
  std::optional<std::string_view> until(std::string_view tag) {
    const size_t end = rest_.find(tag);
    if (end == std::string_view::npos) return std::nullopt;
    const std::string_view before = rest_.substr(0, end);
    rest_.remove_prefix(end + tag.size());
    return before;
  }
  bool at_end() const { return rest_.find_first_not_of(kSpace) == std::string_view::npos; }

 private:
  std::string_view rest_;
};

std::optional<Calls> if_any(Calls calls) {
  return calls.empty() ? std::nullopt : std::optional<Calls>(std::move(calls));
}

std::optional<ToolCall> json_call(const Json& json) {
  if (!json.is_object()) return std::nullopt;
  // Some write {"type": "function", "function": {...}}.
  if (const auto inner = json.find("function"); inner != json.end() && inner->is_object()) return json_call(*inner);
  const auto name = json.find("name");
  auto arguments = json.find("arguments");
  if (arguments == json.end()) arguments = json.find("parameters");
  if (name == json.end() || !name->is_string() || arguments == json.end()) return std::nullopt;
  std::optional<ToolCall> call =
      arguments->is_string() ? named_call(name->get_ref<const std::string&>(), arguments->get_ref<const std::string&>())
                             : named_call(name->get_ref<const std::string&>(), json_text(*arguments));
  const auto id = json.find("id");
  if (call && id != json.end() && id->is_string()) call->id = id->get<std::string>();
  return call;
}

std::optional<ToolCall> object_call(std::string_view name, const Json& arguments) {
  if (trimmed(name).empty()) return std::nullopt;
  return ToolCall{"", std::string(trimmed(name)), json_text(arguments)};
}

}  // namespace

std::optional<ToolCall> named_call(std::string_view name, std::string_view arguments) {
  name = trimmed(name);
  arguments = trimmed(arguments);
  if (name.empty()) return std::nullopt;
  if (arguments.empty() || arguments == "null") return ToolCall{"", std::string(name), "{}"};
  if (!parse_json(arguments).is_object()) return std::nullopt;
  return ToolCall{"", std::string(name), std::string(arguments)};
}

std::optional<Calls> read_json_calls(const CallText& call) {
  const Json json = parse_json(trimmed(call.text));
  if (json.is_discarded()) return std::nullopt;
  Calls calls;
  const Json all = json.is_array() ? json : Json::array({json});
  for (const Json& one : all) {
    auto read = json_call(one);
    if (!read) return std::nullopt;
    calls.push_back(std::move(*read));
  }
  return if_any(std::move(calls));
}

std::optional<Calls> read_mistral_calls(const CallText& call) {
  constexpr std::string_view kArguments = "[ARGS]", kNext = "[TOOL_CALLS]";
  if (call.text.find(kArguments) == std::string_view::npos) return read_json_calls(call);
  Calls calls;
  for (std::string_view rest = call.text; !rest.empty();) {
    const size_t end = rest.find(kNext);
    const std::string_view one = rest.substr(0, end);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + kNext.size());
    const size_t at = one.find(kArguments);
    if (at == std::string_view::npos) return std::nullopt;
    auto read = named_call(one.substr(0, std::min(at, one.find("[CALL_ID]"))), one.substr(at + kArguments.size()));
    if (!read) return std::nullopt;
    calls.push_back(std::move(*read));
  }
  return if_any(std::move(calls));
}

std::optional<Calls> read_function_calls(const CallText& call) {
  Tags tags(call.text);
  Calls calls;
  while (tags.take("<function=")) {
    const auto name = tags.until(">");
    if (!name) return std::nullopt;
    Json arguments = Json::object();
    while (tags.take("<parameter=")) {
      const auto key = tags.until(">");
      const auto text = key ? tags.until("</parameter>") : std::nullopt;
      if (!text) return std::nullopt;
      arguments[std::string(trimmed(*key))] = call.tools.value(trimmed(*name), trimmed(*key), without_line_ends(*text));
    }
    auto read = tags.take("</function>") ? object_call(*name, arguments) : std::nullopt;
    if (!read) return std::nullopt;
    calls.push_back(std::move(*read));
  }
  return tags.at_end() ? if_any(std::move(calls)) : std::nullopt;
}

std::optional<Calls> read_glm_calls(const CallText& call) {
  if (!call.closed) return std::nullopt;  // a name alone may be the beginning of one
  constexpr std::string_view kKey = "<arg_key>";
  const std::string_view name = trimmed(call.text.substr(0, call.text.find(kKey)));
  if (name.find_first_of("<>{}\n") != std::string_view::npos) return std::nullopt;
  Tags tags(call.text.substr(std::min(call.text.find(kKey), call.text.size())));
  Json arguments = Json::object();
  while (tags.take(kKey)) {
    const auto key = tags.until("</arg_key>");
    const auto text = key && tags.take("<arg_value>") ? tags.until("</arg_value>") : std::nullopt;
    if (!text) return std::nullopt;
    arguments[std::string(trimmed(*key))] = call.tools.value(name, trimmed(*key), *text);
  }
  auto read = tags.at_end() ? object_call(name, arguments) : std::nullopt;
  return read ? std::optional(Calls{std::move(*read)}) : std::nullopt;
}

std::optional<Calls> read_invoke_calls(const CallText& call) {
  Tags tags(call.text);
  Calls calls;
  while (tags.take("<invoke name=\"")) {
    const auto name = tags.until("\">");
    if (!name) return std::nullopt;
    Json arguments = Json::object();
    while (tags.take("<parameter name=\"")) {
      const auto key = tags.until("\">");
      const auto text = key ? tags.until("</parameter>") : std::nullopt;
      if (!text) return std::nullopt;
      arguments[std::string(*key)] = call.tools.value(*name, *key, without_line_ends(*text));
    }
    auto read = tags.take("</invoke>") ? object_call(*name, arguments) : std::nullopt;
    if (!read) return std::nullopt;
    calls.push_back(std::move(*read));
  }
  return tags.at_end() ? if_any(std::move(calls)) : std::nullopt;
}

std::optional<Calls> read_deepseek_calls(const CallText& call) {
  Tags tags(call.text);
  Calls calls;
  while (tags.take("<｜tool▁call▁begin｜>")) {
    const auto name = tags.until("<｜tool▁sep｜>");
    const auto arguments = name ? tags.until("<｜tool▁call▁end｜>") : std::nullopt;
    auto read = arguments ? named_call(*name, *arguments) : std::nullopt;
    if (!read) return std::nullopt;
    calls.push_back(std::move(*read));
  }
  return tags.at_end() ? if_any(std::move(calls)) : std::nullopt;
}

std::optional<Calls> read_kimi_calls(const CallText& call) {
  Tags tags(call.text);
  Calls calls;
  while (tags.take("<|tool_call_begin|>")) {
    const auto id = tags.until("<|tool_call_argument_begin|>");
    const auto arguments = id ? tags.until("<|tool_call_end|>") : std::nullopt;
    if (!arguments) return std::nullopt;
    std::string_view name = trimmed(*id);
    if (name.starts_with("functions.")) name.remove_prefix(std::string_view("functions.").size());
    name = name.substr(0, name.rfind(':'));
    auto read = named_call(name, *arguments);
    if (!read) return std::nullopt;
    read->id = trimmed(*id);
    calls.push_back(std::move(*read));
  }
  return tags.at_end() ? if_any(std::move(calls)) : std::nullopt;
}

std::optional<Calls> read_python_calls(const CallText& call) {
  LiteralReader reader(call.text, LiteralReader::Notation::kPython);
  const bool in_list = reader.take("[");
  Calls calls;
  do {
    if (in_list && !calls.empty() && reader.take("]")) return reader.at_end() ? if_any(calls) : std::nullopt;
    const std::string name = reader.name();
    if (name.empty() || !reader.take("(")) return std::nullopt;
    Json arguments = Json::object();
    const std::vector<std::string_view> parameters = call.tools.parameters(name);
    for (bool first = true; !reader.take(")"); first = false) {
      if (!first && !reader.take(",")) return std::nullopt;
      if (!first && reader.take(")")) break;
      LiteralReader after_name = reader;
      std::string key = after_name.name();
      if (after_name.take("=")) {
        reader = after_name;
      } else {  // by its place
        if (arguments.size() >= parameters.size()) return std::nullopt;
        key = parameters[arguments.size()];
      }
      auto value = reader.value();
      if (key.empty() || !value) return std::nullopt;
      arguments[key] = std::move(*value);
    }
    calls.push_back({"", name, json_text(arguments)});
  } while (reader.take(","));
  if (in_list && !reader.take("]")) return std::nullopt;
  return reader.at_end() ? if_any(std::move(calls)) : std::nullopt;
}

std::optional<Calls> read_gemma_calls(const CallText& call) {
  LiteralReader reader(call.text, LiteralReader::Notation::kGemma);
  if (!reader.take("call:")) return std::nullopt;
  const std::string name = reader.name();
  const auto arguments = reader.value();
  if (name.empty() || !arguments || !arguments->is_object() || !reader.at_end()) return std::nullopt;
  return Calls{{"", name, json_text(*arguments)}};
}

}  // namespace steelyard::chat
