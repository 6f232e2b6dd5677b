// Whether a model still calls the tools that its base calls. Where a conversation has calls, both answer greedily to
// what stands before them, and the calls in the two answers are compared. Called by perplexity.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "jobs/conversation_scores.h"
#include "jobs/conversation_text.h"

namespace steelyard::jobs {

/// An answer of an assistant that has calls.
struct ToolTurn {
  size_t conversation;                     ///< number in the file, from 0
  std::vector<tokenizer::TokenId> prompt;  ///< what stands before it, with what opens the answer
};

/// Those whose prompts, and n_answer tokens more, fit into a context of n_context.
std::vector<ToolTurn> tool_turns(const ConversationText& text, const tokenizer::Tokenizer& tokenizer, int64_t n_answer,
                                 int64_t n_context);

/// Names and arguments, in order.
using Calls = std::vector<std::pair<std::string, chat::Json>>;
/// The calls in an answer to a turn. Empty where it has none.
using CallsOf = std::function<Calls(const std::vector<tokenizer::TokenId>& answer, const ToolTurn& turn,
                                    const chat::Conversation& conversation)>;

/// As the model of the template marks calls; nothing where that is not known. The tokenizer outlives it.
std::optional<CallsOf> calls_of(const chat::Template& chat, const tokenizer::Tokenizer& tokenizer);

/// `answers` and `base`: tokens of greedy answers to each turn; without a base only this model's are looked at. A call
/// is valid where the conversation has a tool of the name, and the arguments are an object that has what is required.
ToolCallFigures compare_calls(const ConversationText& text, std::span<const ToolTurn> turns,
                              std::span<const std::vector<tokenizer::TokenId>> answers,
                              std::optional<std::span<const std::vector<tokenizer::TokenId>>> base,
                              const CallsOf& calls_of);

}  // namespace steelyard::jobs
