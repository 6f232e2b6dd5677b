// Folders as models are published in, made from a GGUF's tokenizer: the way back of what is tested.
#pragma once

#include <fmt/format.h>

#include <cstring>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/metadata.h"
#include "json/json.h"
#include "tokenizer/vocabulary.h"

namespace steelyard::test {

using tokenizer::TokenType;

inline void write_text(const std::string& path, const std::string& text) { std::ofstream(path) << text; }

struct TokenizerFolder {
  std::vector<std::string> steps;  // of the pre-tokenizer; an empty one is ByteLevel's own pattern
  bool merges_as_pairs = false;
  bool characters = false;  // a vocabulary that is spelled like SentencePiece's
  bool space_prefix = false;
  bool ignore_merges = false;
  std::string model_type = "llama";
};

inline std::string in_quotes(std::string_view text) { return json::json_text(std::string(text)); }

inline std::string merge_text(std::string_view merge, bool as_pair) {
  const size_t space = merge.find(' ');
  if (!as_pair) return in_quotes(merge);
  return "[" + in_quotes(merge.substr(0, space)) + "," + in_quotes(merge.substr(space + 1)) + "]";
}

/// tokenizer.json of byte-level BPE, or with `characters` of one of characters; config.json; tokenizer_config.json.
inline void write_tokenizer_json(const std::string& folder, const gguf::Metadata& metadata,
                                 const TokenizerFolder& shape) {
  const auto tokens = metadata.strings("tokenizer.ggml.tokens");
  const auto types = metadata.integers("tokenizer.ggml.token_type");
  std::vector<std::string> vocab, added, merges, steps;
  for (size_t id = 0; id < tokens.size(); ++id) {
    const auto type = static_cast<TokenType>(types[id]);
    if (type == TokenType::kUnused) continue;
    const bool special = type == TokenType::kControl;
    if (special || type == TokenType::kUserDefined) {
      added.push_back(fmt::format(R"({{"id":{},"content":{},"normalized":false,"special":{}}})", id,
                                  in_quotes(tokens[id]), special));
    } else {
      vocab.push_back(fmt::format("{}:{}", in_quotes(tokens[id]), id));
    }
  }
  if (metadata.contains("tokenizer.ggml.merges")) {
    for (const std::string_view merge : metadata.strings("tokenizer.ggml.merges")) {
      merges.push_back(merge_text(merge, shape.merges_as_pairs));
    }
  }
  for (const std::string& step : shape.steps) {
    if (step.starts_with("Punctuation ")) {
      steps.push_back(R"({"type":"Punctuation","behavior":"Contiguous"})");
    } else if (!step.empty()) {
      steps.push_back(R"({"type":"Split","pattern":{"Regex":)" + in_quotes(step) +
                      R"(},"behavior":"Isolated","invert":false})");
    }
  }
  const bool pattern_of_its_own = !shape.steps.empty() && shape.steps.back().empty();
  steps.push_back(fmt::format(R"({{"type":"ByteLevel","add_prefix_space":false,"use_regex":{}}})", pattern_of_its_own));
  std::string pre = R"({"type":"Sequence","pretokenizers":[)" + fmt::format("{}", fmt::join(steps, ",")) + "]}";
  std::string normalizer = "null";
  if (shape.characters) {
    pre = R"({"type":"Split","pattern":{"String":" "},"behavior":"MergedWithPrevious","invert":false})";
    normalizer = R"({"type":"Replace","pattern":{"String":" "},"content":"▁"})";
    if (shape.space_prefix) {
      normalizer = R"({"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},)" + normalizer + "]}";
    }
  }
  write_text(folder + "/tokenizer.json",
             fmt::format(R"({{"version":"1.0","added_tokens":[{}],"normalizer":{},"pre_tokenizer":{},)"
                         R"("post_processor":null,"model":{{"type":"BPE","unk_token":{},"byte_fallback":{},)"
                         R"("ignore_merges":{},"vocab":{{{}}},"merges":[{}]}}}})",
                         fmt::join(added, ","), normalizer, pre, shape.characters ? "\"<unk>\"" : "null",
                         shape.characters, shape.ignore_merges, fmt::join(vocab, ","), fmt::join(merges, ",")));
}

/// config.json with the number of tokens, tokenizer_config.json with the special ones by their texts.
inline void write_configs(const std::string& folder, const gguf::Metadata& metadata, const std::string& model_type) {
  const auto tokens = metadata.strings("tokenizer.ggml.tokens");
  write_text(folder + "/config.json",
             fmt::format(R"({{"model_type":"{}","vocab_size":{}}})", model_type, tokens.size()));
  json::Json config = json::Json::object();
  const auto name = [&](const char* kind, const char* key) {
    if (metadata.contains(key)) config[kind] = std::string(tokens[static_cast<size_t>(metadata.integer(key))]);
  };
  name("bos_token", "tokenizer.ggml.bos_token_id");
  name("eos_token", "tokenizer.ggml.eos_token_id");
  name("pad_token", "tokenizer.ggml.padding_token_id");
  for (const char* key : {"add_bos_token", "add_eos_token"}) {
    const std::string full = std::string("tokenizer.ggml.") + key;
    if (metadata.contains(full)) config[key] = metadata.boolean(full, false);
  }
  write_text(folder + "/tokenizer_config.json", json::json_text(config));
}

inline std::string varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(0x80 | (value & 0x7F));
  return bytes + static_cast<char>(value);
}
inline std::string field(int number, std::string_view bytes) {
  return varint(static_cast<uint64_t>(number) << 3 | 2) + varint(bytes.size()) + std::string(bytes);
}
inline std::string field(int number, uint64_t value) {
  return varint(static_cast<uint64_t>(number) << 3) + varint(value);
}
inline std::string piece(std::string_view text, float score, int type) {
  std::string bytes = field(1, text) + varint(2 << 3 | 5);
  char real[4];
  std::memcpy(real, &score, 4);
  return bytes.append(real, 4) + field(3, static_cast<uint64_t>(type));
}

/// tokenizer.model: all that SentencePiece's trainer would write of it and more, because what is not needed is skipped.
inline std::string sentencepiece_model(const gguf::Metadata& metadata) {
  const auto tokens = metadata.strings("tokenizer.ggml.tokens");
  const auto types = metadata.integers("tokenizer.ggml.token_type");
  const auto scores = metadata.reals("tokenizer.ggml.scores");
  std::string model;
  for (size_t id = 0; id < tokens.size(); ++id) {
    model += field(1, piece(tokens[id], static_cast<float>(scores[id]), static_cast<int>(types[id])));
  }
  model += field(2, field(1, "corpus.txt") + field(3, uint64_t{2}) + field(35, uint64_t{1}));
  const uint64_t prefix = metadata.boolean("tokenizer.ggml.add_space_prefix", true);
  return model + field(3, field(1, "identity") + field(3, prefix) + field(4, uint64_t{0}));
}

}  // namespace steelyard::test
