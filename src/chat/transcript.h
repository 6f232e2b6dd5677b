// A conversation as tokens, and who wrote which of them: what a model has read and what it has to say.
//
// What an assistant wrote is what follows when its message is added to the ones before it: the conversation up to the
// message is rendered with it, and without it but with what opens the answer. So it has the reasoning, the tool calls
// in the model's own markup, and the token that ends the turn. Many templates drop earlier reasoning. Then an earlier
// answer as it was given is in no rendering of the whole; it gets a transcript of its own, up to its end.
// Called by jobs/conversation_text.cc.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "chat/conversations.h"
#include "chat/template.h"
#include "tokenizer/tokenizer.h"

namespace steelyard::chat {

enum class Role : uint8_t {
  kTemplate,  ///< markup, definitions of tools
  kSystem,
  kUser,
  kAssistant,
  kTool,      ///< what a tool has answered
  kRepeated,  ///< stands in an earlier transcript of the conversation
};
inline constexpr size_t kRoles = 6;

/// "template", "system", "user", "assistant", "tool", "repeated".
std::string_view name(Role role);

struct Transcript {
  std::vector<tokenizer::TokenId> ids;
  std::vector<Role> roles;  ///< [ids]
};

/// At least one: first that of the whole conversation, then those of answers that are not in it. The tokenizer is that
/// of the template. TemplateError where the template refuses the conversation.
std::vector<Transcript> transcripts(const Template& chat, const tokenizer::Tokenizer& tokenizer,
                                    const Conversation& conversation);

}  // namespace steelyard::chat
