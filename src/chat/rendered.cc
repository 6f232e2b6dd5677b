#include "chat/rendered.h"

namespace steelyard::chat {

std::vector<tokenizer::TokenId> tokenize(const tokenizer::Tokenizer& tokenizer, const Rendered& rendered) {
  return tokenizer.encode(rendered.text, rendered.literal);
}

}  // namespace steelyard::chat
