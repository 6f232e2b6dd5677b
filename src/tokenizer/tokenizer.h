// Text to token ids and back, as a model's tokenizer.ggml.* metadata says: byte-level BPE or SentencePiece.
// docs/tokenizer.md has the rules. Ids agree with llama.cpp's.
//
// A const Tokenizer may be used from several threads at once.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/metadata.h"
#include "tokenizer/special_tokens.h"
#include "tokenizer/vocabulary.h"

namespace steelyard::tokenizer {

class Tokenizer {
 public:
  /// Reads tokenizer.ggml.* of a model; `metadata` is not needed afterwards. Error names the key: an unknown kind or
  /// pre-tokenizer, missing or malformed arrays, a BOS or EOS to add that is not set. Special tokens whose id is not in
  /// the vocabulary count as none, and are not added.
  explicit Tokenizer(const gguf::Metadata& metadata);
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  int n_tokens() const;

  /// Token ids of `text`, any bytes. `add_special`: BOS and EOS are added where the model asks for them.
  /// `parse_special`: the names of control tokens, like <|user|>, are read as these tokens; without it they are text.
  std::vector<TokenId> encode(std::string_view text, bool add_special, bool parse_special) const;
  /// The same with neither BOS nor EOS added, and names of control tokens read as such where they do not overlap with
  /// one of `literal`, which are in order and disjoint.
  std::vector<TokenId> encode(std::string_view text, std::span<const TextRange> literal) const;

  /// The bytes of `ids`. Control and unknown tokens give their name if `special`, else nothing; unused ones nothing.
  /// One token may end within a character. Error for an id beyond the vocabulary.
  std::string decode(std::span<const TokenId> ids, bool special = false) const;

  std::optional<TokenId> bos() const;
  std::optional<TokenId> eos() const;
  bool add_bos() const;
  bool add_eos() const;
  /// Whether `id` ends generation: EOS, end of turn, end of message, and tokens with such names.
  bool is_end_of_generation(TokenId id) const;

  /// The names that are read as tokens only on demand: of control and unknown tokens, each once.
  std::vector<std::string_view> control_tokens() const;

  /// The token as the model's file spells it. Error for an id beyond the vocabulary.
  std::string_view text(TokenId id) const;

 private:
  void append(std::span<const Fragment> fragments, std::vector<TokenId>& ids) const;

  struct Parts;
  std::unique_ptr<const Parts> parts_;
};

}  // namespace steelyard::tokenizer
