// The alphabet of byte-level vocabularies: each of the 256 byte values is written as one printable character, so that
// any byte string can be a JSON string. 0x21-0x7E, 0xA1-0xAC and 0xAE-0xFF stand for themselves, the other bytes are
// U+0100, U+0101, ... in increasing order (GPT-2's encoder). Used when a vocabulary is read; text is never spelled out.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace steelyard::tokenizer {

/// The bytes that `spelling` (UTF-8) stands for, or nothing when a character of it is not in the alphabet.
std::optional<std::string> bytes_of_spelling(std::string_view spelling);

/// `bytes` written in the alphabet; the inverse of bytes_of_spelling.
std::string spelling_of_bytes(std::string_view bytes);

}  // namespace steelyard::tokenizer
