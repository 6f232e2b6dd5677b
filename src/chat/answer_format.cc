#include "chat/answer_format.h"

#include <algorithm>
#include <array>

namespace steelyard::chat {
namespace {

constexpr std::string_view kThink = "<think>", kEndThink = "</think>";

// Rows of more special formats stand before those whose probe they have as well.
constexpr std::array kFormats = {
    AnswerFormat{.name = "gpt-oss", .probe = "<|channel|>", .reasoning_field = "thinking", .has_channels = true},
    AnswerFormat{"gemma4", "<|tool_call>", "<|channel>thought", "<channel|>", "<|tool_call>", "<tool_call|>",
                 read_gemma_calls},
    AnswerFormat{"deepseek", "<｜tool▁calls▁begin｜>", kThink, kEndThink, "<｜tool▁calls▁begin｜>",
                 "<｜tool▁calls▁end｜>", read_deepseek_calls},
    AnswerFormat{"kimi", "<|tool_calls_section_begin|>", kThink, kEndThink, "<|tool_calls_section_begin|>",
                 "<|tool_calls_section_end|>", read_kimi_calls},
    AnswerFormat{"minimax", "<minimax:tool_call>", kThink, kEndThink, "<minimax:tool_call>", "</minimax:tool_call>",
                 read_invoke_calls},
    AnswerFormat{"glm", "<arg_key>", kThink, kEndThink, "<tool_call>", "</tool_call>", read_glm_calls},
    AnswerFormat{"qwen3-coder", "<function=", kThink, kEndThink, "<tool_call>", "</tool_call>", read_function_calls,
                 "<function=", "</function>"},
    AnswerFormat{"lfm2", "<|tool_list_start|>", kThink, kEndThink, "<|tool_call_start|>", "<|tool_call_end|>",
                 read_python_calls},
    AnswerFormat{"mistral", "[TOOL_CALLS]", "[THINK]", "[/THINK]", "[TOOL_CALLS]", "", read_mistral_calls},
    AnswerFormat{"hermes", "<tool_call>", kThink, kEndThink, "<tool_call>", "</tool_call>", read_json_calls},
    AnswerFormat{"llama3", "<|start_header_id|>", kThink, kEndThink, "", "", read_json_calls},
};
constexpr AnswerFormat kPlain = {.name = "plain", .reason_open = kThink, .reason_close = kEndThink};

// Names of control tokens within calls, and of messages with channels.
constexpr std::string_view kInner[] = {"<|start|>",
                                       "<|channel|>",
                                       "<|message|>",
                                       "<|constrain|>",
                                       "<|end|>",
                                       "<|call|>",
                                       "<|return|>",
                                       "<|\"|>",
                                       "<|tool_call_begin|>",
                                       "<|tool_call_argument_begin|>",
                                       "<|tool_call_end|>",
                                       "<｜tool▁call▁begin｜>",
                                       "<｜tool▁sep｜>",
                                       "<｜tool▁call▁end｜>",
                                       "[ARGS]",
                                       "[CALL_ID]",
                                       "<|python_tag|>",
                                       "<|channel>"};

}  // namespace

const AnswerFormat& AnswerFormat::of(std::string_view chat_template) {
  const auto found = std::ranges::find_if(
      kFormats, [&](const AnswerFormat& format) { return chat_template.find(format.probe) != std::string_view::npos; });
  return found == kFormats.end() ? kPlain : *found;
}

std::vector<const AnswerFormat*> AnswerFormat::all() {
  std::vector<const AnswerFormat*> formats = {&kPlain};
  for (const AnswerFormat& format : kFormats) formats.push_back(&format);
  return formats;
}

bool AnswerFormat::is_markup(std::string_view token) const {
  return (!token.empty() &&
          (token == reason_open || token == reason_close || token == call_open || token == call_close)) ||
         std::ranges::find(kInner, token) != std::end(kInner);
}

std::string piece_of(const tokenizer::Tokenizer& tokenizer, const AnswerFormat& format, tokenizer::TokenId id) {
  std::string bytes = tokenizer.decode(std::span(&id, 1));
  if (bytes.empty() && format.is_markup(tokenizer.text(id))) bytes = tokenizer.text(id);
  return bytes;
}

}  // namespace steelyard::chat
