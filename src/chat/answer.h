// An answer in its parts: what a model reasons, what it says, and the calls of tools that it makes. Deltas are how the
// parts come while the model writes; Answer has them all.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "chat/json.h"

namespace steelyard::chat {

struct ToolCall {
  std::string id;         ///< the model's, where its format has ids, else nine letters and digits of ours
  std::string name;       ///< of the function; any text of the model's
  std::string arguments;  ///< JSON of an object

  bool operator==(const ToolCall&) const = default;
};

struct Delta {
  enum class Kind { kReasoning, kContent, kToolCall };
  Kind kind = Kind::kContent;
  std::string text;  ///< of reasoning or content, never empty; whole characters, where the model writes UTF-8
  ToolCall call;     ///< of kToolCall, whole

  bool operator==(const Delta&) const = default;
};

struct Answer {
  std::string reasoning, content;
  std::vector<ToolCall> calls;

  void add(std::span<const Delta> deltas);
  /// The message that goes into the history, as templates expect it: calls have their arguments as objects.
  /// `reasoning_field`: AnswerFormat::reasoning_field().
  Json message(std::string_view reasoning_field = "reasoning_content") const;
};

}  // namespace steelyard::chat
