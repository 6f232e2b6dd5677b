// SentencePiece as llama.cpp runs it (tokenizer.ggml.model = "llama"): plain text to tokens, and a token back to its
// bytes. Llama 1 and 2, Mistral, Phi-3 and Gemma 1 to 3 have such vocabularies.
//
// Spaces are written U+2581. Text starts as one symbol per character. Of all neighbours that together are a token,
// those with the highest tokenizer.ggml.scores become one, leftmost first. A character that is not a token at the end
// becomes its bytes, the tokens <0x00> to <0xFF>. Called by Tokenizer only.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/plain_text.h"
#include "tokenizer/sentencepiece_spelling.h"

namespace steelyard::tokenizer {

class Spm final : public PlainText {
 public:
  /// Keeps a reference to `vocabulary`. Error: scores missing, of another number or not a number, a byte without a
  /// token, a byte token that is not spelled <0xXX>.
  Spm(const gguf::Metadata& metadata, const Vocabulary& vocabulary);

  SpecialDefaults defaults() const override;

  /// Where the model asks for it (tokenizer.ggml.add_space_prefix), text that `starts` gets a space in front. Invalid
  /// UTF-8 stays as it is.
  void encode(std::string_view text, bool starts, std::vector<TokenId>& ids) const override;

  /// With the spaces of the token. The space that encode() puts before a text stays.
  std::string bytes(TokenId id) const override;

 private:
  void read_scores(const gguf::Metadata& metadata);
  // Bytes without a token <0xXX> have one that is spelled as the byte itself.
  void complete_byte_tokens(const gguf::Metadata& metadata);

  const Vocabulary& vocabulary_;
  std::vector<float> scores_;             // [n_tokens]
  std::array<TokenId, 256> byte_tokens_;  // what a byte becomes where its character is no token
  bool space_prefix_;
  Words words_;
};

}  // namespace steelyard::tokenizer
