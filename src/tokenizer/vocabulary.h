// The tokens of a model as tokenizer.ggml.tokens and .token_type give them, and which of them end generation.
// Says nothing about how text becomes tokens: that is bpe.h for plain text and special_tokens.h for marked tokens.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/metadata.h"

namespace steelyard::tokenizer {

using TokenId = int32_t;

/// The values of tokenizer.ggml.token_type.
enum class TokenType : uint8_t {
  kUndefined = 0,
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

class Vocabulary {
 public:
  /// Error names the key: tokens missing or none, types of another number or kind. Some files list a text more than
  /// once: every id decodes, and the first of them is found.
  explicit Vocabulary(const gguf::Metadata& metadata);
  Vocabulary(const Vocabulary&) = delete;  // tokens_ points into texts_
  Vocabulary& operator=(const Vocabulary&) = delete;

  int n_tokens() const { return static_cast<int>(tokens_.size()); }
  bool contains(int64_t id) const { return id >= 0 && id < n_tokens(); }
  /// The token as the file spells it.
  std::string_view text(TokenId id) const { return tokens_[id].text; }
  TokenType type(TokenId id) const { return tokens_[id].type; }
  /// The token spelled `text`. Tokens without text are never found.
  std::optional<TokenId> find(std::string_view text) const;
  /// Tokens that end generation by their name. The Tokenizer adds those that a metadata key names.
  const std::set<TokenId>& ends_by_name() const { return ends_by_name_; }

 private:
  struct Token {
    std::string_view text;
    TokenType type = TokenType::kNormal;
  };
  struct Slot {
    uint32_t hash;    // part of the text's hash that does not decide the slot; most mismatches end here
    TokenId id = -1;  // -1: empty
  };
  void add(std::string_view text);
  std::vector<TokenId> all_spelled(std::string_view text) const;
  void read_types(const gguf::Metadata& metadata);
  void apply_names(const gguf::Metadata& metadata);
  size_t slot_of(std::string_view text, uint64_t hash) const;

  std::string texts_;          // all tokens, one after another
  std::vector<Token> tokens_;  // [n_tokens]
  // Tokens by text, with open addressing. Reading a model looks up three texts per merge, and with std::unordered_map
  // that was most of the time to load a tokenizer. The size is a power of two, and at least a third is empty.
  std::vector<Slot> slots_;
  size_t longest_ = 0;             // bytes of a token
  std::vector<TokenId> repeated_;  // tokens whose text an earlier one has; ascending
  std::set<TokenId> ends_by_name_;
};

/// Whether tokens of this name end generation, whatever the metadata says. A name that counts only where its key is
/// missing is none of them.
bool ends_by_name(std::string_view text);

/// "file: key", the place of an error in metadata.
std::string key_location(const gguf::Metadata& metadata, std::string_view key);

}  // namespace steelyard::tokenizer
