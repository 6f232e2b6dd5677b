// A vocabulary with the control tokens of a chat, for tests of this folder.
#pragma once

#include "tokenizer/small_model.h"
#include "tokenizer/tokenizer.h"

namespace steelyard::chat {

inline tokenizer::Tokenizer chat_tokenizer() {
  using tokenizer::TokenType;
  tokenizer::SmallModel model({}, {{"<s>", TokenType::kControl},
                                   {"</s>", TokenType::kControl},
                                   {"<|im_start|>", TokenType::kControl},
                                   {"<|im_end|>", TokenType::kControl},
                                   {"[e~[", TokenType::kControl},
                                   {"<think>", TokenType::kUserDefined}});
  model.rest.set_integer("tokenizer.ggml.bos_token_id", 256);
  model.rest.set_integer("tokenizer.ggml.eos_token_id", 257);
  return tokenizer::Tokenizer(model.metadata());
}

/// Of small_chat's vocabulary.
inline constexpr tokenizer::TokenId kStart = 258, kEnd = 259;

}  // namespace steelyard::chat
