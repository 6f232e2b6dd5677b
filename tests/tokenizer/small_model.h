// Tokenizer metadata for tests: the 256 bytes as tokens 0-255, then merge results, then marked tokens.
#pragma once

#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gguf/metadata.h"
#include "tokenizer/byte_alphabet.h"
#include "tokenizer/vocabulary.h"

namespace steelyard::test {

/// What merges with what, as plain bytes.
using Pairs = std::vector<std::pair<std::string, std::string>>;
/// Token text and type.
using Mark = std::pair<std::string, TokenType>;

inline void set_int32s(gguf::Metadata& metadata, const std::string& key, const std::vector<int32_t>& values) {
  const auto type = static_cast<uint32_t>(gguf::ValueType::kInt32);
  const uint64_t count = values.size();
  std::string raw(sizeof(type) + sizeof(count) + values.size() * sizeof(int32_t), '\0');
  std::memcpy(raw.data(), &type, sizeof(type));
  std::memcpy(raw.data() + sizeof(type), &count, sizeof(count));
  if (count > 0) std::memcpy(raw.data() + sizeof(type) + sizeof(count), values.data(), count * sizeof(int32_t));
  metadata.set({key, gguf::ValueType::kArray, raw});
}

struct SmallModel {
  std::vector<std::string> tokens;
  std::vector<int32_t> types;
  std::vector<std::string> merges;
  gguf::Metadata rest{"small.gguf"};  // all other keys

  /// The result of each pair becomes a token.
  explicit SmallModel(const Pairs& pairs = {}, const std::vector<Mark>& marks = {}) {
    for (int b = 0; b < 256; ++b) add(spelling_of_bytes(std::string(1, static_cast<char>(b))), TokenType::kNormal);
    for (const auto& [left, right] : pairs) {
      add(spelling_of_bytes(left + right), TokenType::kNormal);
      merges.push_back(spelling_of_bytes(left) + " " + spelling_of_bytes(right));
    }
    for (const auto& [text, type] : marks) add(text, type);
    rest.set_string("tokenizer.ggml.model", "gpt2");
    rest.set_string("tokenizer.ggml.pre", "gpt-2");
  }

  void add(const std::string& text, TokenType type) {
    tokens.push_back(text);
    types.push_back(static_cast<int32_t>(type));
  }

  gguf::Metadata metadata() const {
    gguf::Metadata all = rest;
    all.set_strings("tokenizer.ggml.tokens", tokens);
    all.set_strings("tokenizer.ggml.merges", merges);
    set_int32s(all, "tokenizer.ggml.token_type", types);
    return all;
  }
};

}  // namespace steelyard::test
