// Byte pair encoding (tokenizer.ggml.model = "gpt2" or "gemma4"): plain text to tokens, and a token back to its bytes.
//
// A piece of the pre-tokenizer starts as one token per byte. While a merge of the list joins two neighbours, the
// earliest such merge is applied, leftmost first. A piece of n bytes costs O(n log n).
//
// Some vocabularies, Gemma 4's among them, are made from SentencePiece ones and spelled like them. There a piece starts
// as one token per character, and a character that is no token at the end becomes its bytes. Called by Tokenizer only.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/text_hash.h"
#include "gguf/metadata.h"
#include "tokenizer/plain_text.h"
#include "tokenizer/pretokenizer.h"
#include "tokenizer/sentencepiece_spelling.h"
#include "tokenizer/vocabulary.h"

namespace steelyard::tokenizer {

/// The merge list: the token that two neighbouring tokens become, and its priority.
class Merges {
 public:
  struct Merge {
    int32_t rank;  // place in the list; the lower is made first
    TokenId result;
  };

  /// Reads tokenizer.ggml.merges, "left right" each. Error: no list, a merge that is not two words, or one whose words
  /// or result are not tokens.
  Merges(const gguf::Metadata& metadata, const Vocabulary& vocabulary);

  /// Null when the pair does not merge.
  const Merge* find(TokenId left, TokenId right) const;

 private:
  struct Slot {
    uint64_t pair = kEmpty;
    Merge merge;
  };
  static constexpr uint64_t kEmpty = ~uint64_t{0};  // no pair: ids are not negative
  size_t slot_of(uint64_t pair) const;

  std::vector<Slot> slots_;  // open addressing; the size is a power of two and at least a third is empty
  int shift_;                // 64 - log2(size)
  NumberHash hash_;
};

class Bpe final : public PlainText {
 public:
  /// Keeps a reference to `vocabulary`. Error as Merges, for an unknown tokenizer.ggml.pre, and for a byte token that
  /// is not spelled <0xXX>.
  Bpe(const gguf::Metadata& metadata, const Vocabulary& vocabulary);

  SpecialDefaults defaults() const override;

  /// Appends the tokens of `text`. Invalid UTF-8 is first made valid (utf8.h). A byte that is not a token of the
  /// vocabulary is left out, as in llama.cpp. `starts` makes no difference.
  void encode(std::string_view text, bool starts, std::vector<TokenId>& ids) const override;

  /// The bytes of a token. Where the vocabulary is spelled in bytes, one that is not stands for its own text.
  std::string bytes(TokenId id) const override;

 private:
  void encode_characters(std::string_view text, std::vector<TokenId>& ids) const;
  void encode_bytes(std::string_view text, std::vector<TokenId>& ids) const;

  const Vocabulary& vocabulary_;
  Pretokenizer pretokenizer_;
  Merges merges_;
  std::optional<Words> words_;            // where the vocabulary is spelled like one of SentencePiece
  std::array<TokenId, 256> byte_tokens_;  // -1 where the vocabulary has none
};

}  // namespace steelyard::tokenizer
