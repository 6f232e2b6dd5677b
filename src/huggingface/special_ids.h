// Which tokens begin, end and pad a text, and whether they are added to it: what the post-processor of tokenizer.json,
// tokenizer_config.json, special_tokens_map.json, config.json and generation_config.json say, in this order. The keys
// are those that llama.cpp's converter makes of them.
#pragma once

#include <optional>

#include "gguf/metadata.h"
#include "huggingface/json_file.h"
#include "huggingface/token_table.h"
#include "huggingface/tokenizer_json.h"

namespace steelyard::huggingface {

/// The files of a folder that say it; any may be missing.
struct SpecialFiles {
  std::optional<JsonFile> tokenizer_config, special_tokens_map, config, generation_config;

  explicit SpecialFiles(const std::string& folder);
  /// A member of config.json, or of the part of it that is about text.
  std::optional<json::Value> of_model(std::string_view name) const;
};

/// Adds the keys tokenizer.ggml.*_token_id and .add_*_token; marks in `tokens` what ends a text as control tokens.
/// `json`: null where there is no tokenizer.json. Ids outside the vocabulary count as none.
void add_special_ids(const SpecialFiles& files, const TokenizerJson* json, TokenTable& tokens,
                     gguf::Metadata& metadata);

}  // namespace steelyard::huggingface
