#include "chat/template.h"

#include <mutex>

#include "base/error.h"
#include "base/text_file.h"
#include "chat/marks.h"

namespace steelyard::chat {
namespace {

constexpr const char* kKey = "tokenizer.chat_template";
constexpr const char* kToolUseKey = "tokenizer.chat_template.tool_use";
// Names of templates in a process.
constexpr const char* kDefault = "default";
constexpr const char* kToolUse = "tool_use";

// What users and tools have written: the values that marks go into.
constexpr const char* kForeign[] = {"messages", "tools", "documents"};

bool has_tools(const Json& input) {
  const auto tools = input.find("tools");
  return tools != input.end() && tools->is_array() && !tools->empty();
}

// What assistants wrote, without marks again. A template may take it apart in ways that others' texts are not.
void restore_assistant(Json& marked, const Json& input) {
  const auto messages = input.find("messages");
  if (messages == input.end() || !messages->is_array()) return;
  for (size_t i = 0; i < messages->size(); ++i) {
    const Json& message = (*messages)[i];
    if (message.is_object() && message.value("role", Json()) == "assistant") marked["messages"][i] = message;
  }
}

// Arguments of tool calls from text to the object that it is.
void parse_arguments(Json& message) {
  const auto calls = message.find("tool_calls");
  if (calls == message.end() || !calls->is_array()) return;
  for (Json& call : *calls) {
    if (!call.is_object() || !call.contains("function") || !call["function"].is_object()) continue;
    Json& function = call["function"];
    if (!function.contains("arguments") || !function["arguments"].is_string()) continue;
    Json parsed = parse_json(function["arguments"].get_ref<const std::string&>());
    if (parsed.is_object()) function["arguments"] = std::move(parsed);
  }
}

// Parts of a text as one.
void join_parts(Json& message) {
  const auto content = message.find("content");
  if (content == message.end() || !content->is_array()) return;
  std::string text;
  for (const Json& part : *content) {
    if (!part.is_object() || !part.contains("text") || !part["text"].is_string()) return;
    text += (text.empty() ? "" : "\n") + part["text"].get<std::string>();
  }
  *content = text;
}

template <typename Change>
Json changed_messages(const Json& input, const Change& change) {
  Json result = input;
  if (!result.contains("messages") || !result["messages"].is_array()) return result;
  for (Json& message : result["messages"]) {
    if (message.is_object()) change(message);
  }
  return result;
}

std::map<std::string, std::string> by_name(const TemplateSource& source) {
  std::map<std::string, std::string> templates = {{kDefault, source.text}};
  if (!source.tool_use.empty()) templates[kToolUse] = source.tool_use;
  return templates;
}

}  // namespace

bool TemplateSource::has(const gguf::Metadata& metadata) { return !metadata.string(kKey, "").empty(); }

TemplateSource TemplateSource::of(const gguf::Metadata& metadata) {
  const std::string where = tokenizer::key_location(metadata, kKey);
  if (!has(metadata)) fail(where, "the model has no chat template; --chat-template FILE gives one");
  TemplateSource source = {where, std::string(metadata.string(kKey, "")),
                           std::string(metadata.string(kToolUseKey, ""))};
  check_text(source.text, where);
  if (!source.tool_use.empty()) check_text(source.tool_use, tokenizer::key_location(metadata, kToolUseKey));
  return source;
}

TemplateSource TemplateSource::load(const std::string& path) { return {path, read_text_file(path), ""}; }

struct Template::Parts {
  std::mutex mutex;
  Renderer renderer;
  std::optional<Marks> marks;
  Json special = Json::object();  // bos_token and eos_token
};

Template::Template(TemplateSource source, const tokenizer::Tokenizer* tokenizer, TemplateOptions options)
    : source_(std::move(source)),
      parts_(new Parts{.mutex = {},
                       .renderer = Renderer(by_name(source_), source_.where, options.limits, options.now),
                       .marks = {}}) {
  if (tokenizer == nullptr) return;
  parts_->marks.emplace(*tokenizer);
  if (tokenizer->bos()) parts_->special["bos_token"] = std::string(tokenizer->text(*tokenizer->bos()));
  if (tokenizer->eos()) parts_->special["eos_token"] = std::string(tokenizer->text(*tokenizer->eos()));
}

Template::~Template() = default;

Rendered Template::render(const Json& given) const {
  if (!given.is_object()) fail("", "the input of a chat template is an object with \"messages\"");
  Json input = given;
  for (const auto& [name, text] : parts_->special.items()) {
    if (!input.contains(name)) input[name] = text;
  }
  const char* const name = !source_.tool_use.empty() && has_tools(input) ? kToolUse : kDefault;
  const std::scoped_lock lock(parts_->mutex);
  std::string text = parts_->renderer.render(name, input);
  if (!parts_->marks) return {std::move(text), {}};

  const std::string dumped = input.dump(-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
  const Marks::Pair pair = Marks::choose({dumped, text, source_.text, source_.tool_use});
  Json marked = input;
  bool any = false;
  for (const char* const foreign : kForeign) {
    if (const auto value = marked.find(foreign); value != marked.end()) any |= parts_->marks->mark(*value, pair);
  }
  if (!any) return {std::move(text), {}};
  for (const bool all : {true, false}) {
    if (!all) restore_assistant(marked, input);
    try {
      Rendered rendered = parts_->marks->unmark(parts_->renderer.render(name, marked), pair);
      if (rendered.text == text) return rendered;
    } catch (const TemplateError&) {  // the template looked at a mark
    }
  }
  fail(source_.where,
       "a message spells a control token, and the template takes it apart: it cannot be told from the template's own");
}

Rendered Template::render_request(const Json& input) const {
  const Json filled = changed_messages(input, [](Json& message) {
    if (message.contains("content") && message["content"].is_null()) message["content"] = "";
  });
  const Json parsed = changed_messages(filled, parse_arguments);
  const Json joined = changed_messages(parsed, join_parts);
  const Json as_text = changed_messages(filled, join_parts);
  // The first that the template takes. What it says against the first is what the client hears.
  std::optional<TemplateError> first;
  const auto attempt = [&](const Json& form) -> std::optional<Rendered> {
    try {
      return render(form);
    } catch (const TemplateError& error) {
      if (!first) first = error;
      return std::nullopt;
    }
  };
  if (auto rendered = attempt(parsed)) return *rendered;
  if (joined != parsed) {
    if (auto rendered = attempt(joined)) return *rendered;
  }
  if (as_text != joined) {
    if (auto rendered = attempt(as_text)) return *rendered;
  }
  throw TemplateError(*first);
}

Json template_input(Json messages, Json tools, const Json& kwargs, bool add_generation_prompt) {
  if (!messages.is_array()) fail("", "messages: expected a list");
  if (!tools.is_null() && !tools.is_array()) fail("", "tools: expected a list");
  if (!kwargs.is_null() && !kwargs.is_object()) fail("", "chat template arguments: expected an object");
  Json input = {{"messages", std::move(messages)},
                {"tools", tools.empty() ? Json() : std::move(tools)},
                {"documents", nullptr},
                {"add_generation_prompt", add_generation_prompt}};
  for (const auto& [name, value] : kwargs.items()) input[name] = value;
  return input;
}

}  // namespace steelyard::chat
