// Tokenizer metadata for tests: the 256 bytes as tokens 0-255, then merge results, then marked tokens.
#pragma once

#include <fmt/format.h>

#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gguf/metadata.h"
#include "tokenizer/byte_alphabet.h"
#include "tokenizer/vocabulary.h"

namespace steelyard::tokenizer {

/// What merges with what, as plain bytes.
using Pairs = std::vector<std::pair<std::string, std::string>>;
/// Token text and type.
using Mark = std::pair<std::string, TokenType>;

template <typename T>
void set_array(gguf::Metadata& metadata, const std::string& key, gguf::ValueType element,
               const std::vector<T>& values) {
  const auto type = static_cast<uint32_t>(element);
  const uint64_t count = values.size();
  std::string raw(sizeof(type) + sizeof(count) + values.size() * sizeof(T), '\0');
  std::memcpy(raw.data(), &type, sizeof(type));
  std::memcpy(raw.data() + sizeof(type), &count, sizeof(count));
  if (count > 0) std::memcpy(raw.data() + sizeof(type) + sizeof(count), values.data(), count * sizeof(T));
  metadata.set({key, gguf::ValueType::kArray, raw});
}

inline void set_int32s(gguf::Metadata& metadata, const std::string& key, const std::vector<int32_t>& values) {
  set_array(metadata, key, gguf::ValueType::kInt32, values);
}

inline void set_floats(gguf::Metadata& metadata, const std::string& key, const std::vector<float>& values) {
  set_array(metadata, key, gguf::ValueType::kFloat32, values);
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

/// A SentencePiece vocabulary: <unk>, <s>, </s>, the 256 bytes as tokens 3-258, then pieces.
struct SmallSpm {
  std::vector<std::string> tokens;
  std::vector<int32_t> types;
  std::vector<float> scores;
  gguf::Metadata rest{"small.gguf"};  // all other keys

  static constexpr TokenId kByte = 3;
  static constexpr TokenId kPiece = 259;

  /// Pieces and scores, spaces as U+2581.
  explicit SmallSpm(const std::vector<std::pair<std::string, float>>& pieces = {}) {
    add("<unk>", TokenType::kUnknown);
    add("<s>", TokenType::kControl);
    add("</s>", TokenType::kControl);
    for (int b = 0; b < 256; ++b) add(fmt::format("<0x{:02X}>", b), TokenType::kByte);
    for (const auto& [text, score] : pieces) add(text, TokenType::kNormal, score);
    rest.set_string("tokenizer.ggml.model", "llama");
  }

  void add(const std::string& text, TokenType type, float score = 0) {
    tokens.push_back(text);
    types.push_back(static_cast<int32_t>(type));
    scores.push_back(score);
  }

  gguf::Metadata metadata() const {
    gguf::Metadata all = rest;
    all.set_strings("tokenizer.ggml.tokens", tokens);
    set_floats(all, "tokenizer.ggml.scores", scores);
    set_int32s(all, "tokenizer.ggml.token_type", types);
    return all;
  }
};

}  // namespace steelyard::tokenizer
