// Makes any byte string valid UTF-8, the way llama.cpp reads text, so that both give the same token ids. The regular
// expressions of the pre-tokenizers rely on it.
#pragma once

#include <string>
#include <string_view>

namespace steelyard::tokenizer {

/// `text` as valid UTF-8. Overlong sequences become the character that they encode. A byte becomes U+FFFD if it does
/// not start a sequence, is cut off, or starts a surrogate or a character beyond U+10FFFF; reading continues at the
/// next byte. A NUL byte is an ordinary character.
std::string valid_utf8(std::string_view text);

}  // namespace steelyard::tokenizer
