// How SentencePiece vocabularies spell text: spaces as U+2581, and bytes that no other token covers as <0x00> to
// <0xFF>. Shared by spm.h and by those BPE vocabularies that are made from SentencePiece ones (bpe.h).
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <string>
#include <string_view>

#include "gguf/metadata.h"
#include "tokenizer/vocabulary.h"

namespace steelyard::tokenizer {

constexpr std::string_view kSpaceSpelling = "\u2581";

/// The first character of `text`, as llama.cpp reads it: a byte that does not start a character stands alone, and the
/// bytes after a lead byte are not checked.
std::string_view first_character(std::string_view text);

/// Appends `text` to `result`, its spaces as U+2581.
void append_escaped(std::string_view text, std::string& result);

/// `text` with spaces instead of U+2581.
std::string with_spaces(std::string_view text);

/// The tokens <0x00> to <0xFF>, -1 where there is none.
std::array<TokenId, 256> byte_tokens(const Vocabulary& vocabulary);

/// Error: a token of type kByte that is not spelled so.
void check_byte_tokens(const gguf::Metadata& metadata, const Vocabulary& vocabulary);

/// The byte of a token of type kByte. check_byte_tokens() has accepted its spelling.
char byte_of(std::string_view spelling);

/// Divides escaped text into words such that no merge crosses their borders. So words can be merged one by one, which
/// is faster, and repeated ones copied.
class Words {
 public:
  explicit Words(const Vocabulary& vocabulary);

  /// The part of `text` in front of the first space that no merge can cross.
  std::string_view first(std::string_view text) const;

 private:
  // The last bytes of words after which some token continues into the next word. After all others no merge can cross
  // the word's end.
  std::bitset<256> goes_on_after_;
};

}  // namespace steelyard::tokenizer
