// The notations in which models write calls of tools: each a function from the text between a format's markers to
// calls. The text is a model's, any bytes. A call has a name, and its arguments are an object; what has not is no call,
// and stays text. The list of formats, answer_format.cc, names these functions.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "chat/answer.h"
#include "chat/tool_schemas.h"

namespace steelyard::chat {

/// What stands between the markers. closed: the closing one was there; else the answer ended before it.
struct CallText {
  std::string_view text;
  bool closed;
  const ToolSchemas& tools;
};

/// Calls, at least one; nothing where the text is not in the notation. Ids are empty where the notation has none.
using ReadCalls = std::optional<std::vector<ToolCall>> (*)(const CallText& call);

/// {"name": ..., "arguments" or "parameters": {...}}, one or a list; an "id" may be with them. (Hermes, Qwen 2.5 and 3,
/// Llama 3, Mistral)
std::optional<std::vector<ToolCall>> read_json_calls(const CallText& call);
/// NAME[ARGS]{...}, and as read_json_calls. (Mistral)
std::optional<std::vector<ToolCall>> read_mistral_calls(const CallText& call);
/// <function=NAME><parameter=KEY>VALUE</parameter></function>. (Qwen3-Coder, Qwen 3.5, Step 3.5)
std::optional<std::vector<ToolCall>> read_function_calls(const CallText& call);
/// NAME<arg_key>KEY</arg_key><arg_value>VALUE</arg_value>. (GLM 4.5 and later)
std::optional<std::vector<ToolCall>> read_glm_calls(const CallText& call);
/// <invoke name="NAME"><parameter name="KEY">VALUE</parameter></invoke>. (MiniMax M2)
std::optional<std::vector<ToolCall>> read_invoke_calls(const CallText& call);
/// <｜tool▁call▁begin｜>NAME<｜tool▁sep｜>{...}<｜tool▁call▁end｜>. (DeepSeek V3.1)
std::optional<std::vector<ToolCall>> read_deepseek_calls(const CallText& call);
/// <|tool_call_begin|>functions.NAME:0<|tool_call_argument_begin|>{...}<|tool_call_end|>, with the id. (Kimi K2)
std::optional<std::vector<ToolCall>> read_kimi_calls(const CallText& call);
/// [NAME(KEY=VALUE, ...), ...], as Python. (LFM2)
std::optional<std::vector<ToolCall>> read_python_calls(const CallText& call);
/// call:NAME{KEY:VALUE,...}. (Gemma 4)
std::optional<std::vector<ToolCall>> read_gemma_calls(const CallText& call);

/// A call with `arguments` as the model wrote them; nothing unless they are an object's JSON. Empty ones are {}.
std::optional<ToolCall> named_call(std::string_view name, std::string_view arguments);

}  // namespace steelyard::chat
