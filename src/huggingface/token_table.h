// The tokens of a vocabulary while it is put together from the files of a folder. Ids without a token are named
// [PAD<id>] and marked as unused, since GGUF has a token for every row of the embedding.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/metadata.h"
#include "tokenizer/vocabulary.h"

namespace steelyard::huggingface {

class TokenTable {
 public:
  /// `n`: all tokens, of which files name `n_named`. Error at `where` when more are left without a name than any model
  /// has: a few bytes must not ask for much memory.
  TokenTable(int64_t n, int64_t n_named, const std::string& where);

  int64_t size() const { return static_cast<int64_t>(texts_.size()); }
  bool contains(int64_t id) const { return id >= 0 && id < size(); }
  void set(int64_t id, std::string text, tokenizer::TokenType type, float score = 0);
  void set_type(int64_t id, tokenizer::TokenType type) { types_[static_cast<size_t>(id)] = static_cast<int32_t>(type); }
  const std::string& text(int64_t id) const { return texts_[static_cast<size_t>(id)]; }
  tokenizer::TokenType type(int64_t id) const {
    return static_cast<tokenizer::TokenType>(types_[static_cast<size_t>(id)]);
  }

  /// tokenizer.ggml.tokens, .scores if asked for, .token_type.
  void write(gguf::Metadata& metadata, bool with_scores) const;

 private:
  std::vector<std::string> texts_;  // [size]
  std::vector<int32_t> types_;      // [size]
  std::vector<float> scores_;       // [size]
};

/// The type of a token that is added to a vocabulary. Many models mark too few of theirs as special; llama.cpp's
/// converter knows the others by their look.
tokenizer::TokenType added_type(std::string_view text, bool special);
/// How a user's token is spelled in GGUF: with spaces.
std::string user_defined_text(std::string_view text);

}  // namespace steelyard::huggingface
