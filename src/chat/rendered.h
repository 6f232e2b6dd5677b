// What a template has made of a conversation, and its way to tokens. Text of users that spells a control token stays
// text: it is in `literal`, and is tokenized as any other text. Everything else is read as a template means it.
#pragma once

#include <string>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace steelyard::chat {

struct Rendered {
  std::string text;                           ///< as the Hugging Face library renders it, byte by byte
  std::vector<tokenizer::TextRange> literal;  ///< of text, in order, disjoint: no control token overlaps with them

  bool operator==(const Rendered&) const = default;
};

/// What the model is given: as the Hugging Face library does it, BOS and EOS are where the template writes them, and
/// nowhere else.
std::vector<tokenizer::TokenId> tokenize(const tokenizer::Tokenizer& tokenizer, const Rendered& rendered);

}  // namespace steelyard::chat
