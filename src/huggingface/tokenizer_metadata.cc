// See tokenizer_metadata.h.
#include "huggingface/tokenizer_metadata.h"

#include <algorithm>
#include <filesystem>
#include <limits>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/error.h"
#include "base/text_hash.h"
#include "huggingface/chat_templates.h"
#include "huggingface/json_file.h"
#include "huggingface/pretokenizer_steps.h"
#include "huggingface/sentencepiece_model.h"
#include "huggingface/special_ids.h"
#include "huggingface/token_table.h"
#include "huggingface/tokenizer_json.h"
#include "tokenizer/pretokenizer.h"

namespace steelyard::huggingface {
namespace {

using json::Value;
using tokenizer::TokenType;

constexpr std::string_view kModelKey = "tokenizer.ggml.model", kPreKey = "tokenizer.ggml.pre";
// What the converter gives to tokens that no merge and no training made.
constexpr float kAddedScore = -1000.0f;

std::optional<int64_t> vocab_size(const SpecialFiles& files) {
  const auto size = files.of_model("vocab_size");
  if (!size) return std::nullopt;
  const auto n = size->integer();
  if (!n || *n < 1 || *n > std::numeric_limits<int32_t>::max()) {
    fail(files.config->path(), "vocab_size is {}, expected 1 to 2^31 - 1", printable(size->text()));
  }
  return n;
}

bool is_byte_token(std::string_view text) {
  const auto digit = [](char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F') || (c >= 'a' && c <= 'f'); };
  return text.size() == 6 && text.starts_with("<0x") && text[5] == '>' && digit(text[3]) && digit(text[4]);
}

// ---- tokenizer.json

TokenTable table_of(const TokenizerJson& json, const SpecialFiles& files, const std::string& where) {
  int64_t last = -1;
  std::string last_text;
  const auto count = [&](int64_t id, const std::string& text) {
    if (id <= last) return;
    last = id;
    last_text = text;
  };
  for (const auto& [id, text] : json.vocab) count(id, text);
  for (const AddedToken& token : json.added) count(token.id, token.text);
  const int64_t n = vocab_size(files).value_or(last + 1);
  if (last >= n) {
    fail(where, "token '{}' has id {}, but vocab_size of config.json is {}", printable(last_text), last, n);
  }
  TokenTable tokens(n, static_cast<int64_t>(json.vocab.size() + json.added.size()), where);
  for (const auto& [id, text] : json.vocab) tokens.set(id, text, TokenType::kNormal);
  std::vector<bool> added(static_cast<size_t>(n));
  for (const AddedToken& token : json.added) {
    if (added[static_cast<size_t>(token.id)]) {
      fail(where, "two added tokens have id {}; one is '{}'", token.id, printable(token.text));
    }
    added[static_cast<size_t>(token.id)] = true;
    const TokenType type = added_type(token.text, token.special);
    tokens.set(token.id, type == TokenType::kControl ? token.text : user_defined_text(token.text), type, kAddedScore);
  }
  return tokens;
}

// The order of merges as scores, for a runtime that joins by scores: the earlier a merge, the higher. The converter
// writes -1000 for all, which would join from the left.
void score_by_merges(const TokenizerJson& json, TokenTable& tokens) {
  std::unordered_map<std::string, float, TextHash, std::equal_to<>> scores;
  scores.reserve(json.merges.size());
  float rank = 0;
  for (const std::string& merge : json.merges) {
    const size_t space = merge.find(' ');
    scores.emplace(merge.substr(0, space) + merge.substr(space + 1), rank);
    rank -= 1;
  }
  for (int64_t id = 0; id < tokens.size(); ++id) {
    const std::string& text = tokens.text(id);
    if (tokens.type(id) != TokenType::kNormal) continue;
    const auto score = scores.find(text);
    const bool unknown = text == json.unknown;
    const TokenType type = unknown ? TokenType::kUnknown : is_byte_token(text) ? TokenType::kByte : TokenType::kNormal;
    tokens.set(id, text, type, type != TokenType::kNormal ? 0 : score == scores.end() ? rank : score->second);
  }
  if (json.unknown.empty()) return;
  for (int64_t id = 0; id < tokens.size(); ++id) {
    if (tokens.text(id) == json.unknown) tokens.set_type(id, TokenType::kUnknown);
  }
}

// Shown in answers, so that what parses them sees them.
bool is_shown(std::string_view text) {
  constexpr std::string_view kShown[] = {"<|channel>",       "<channel|>",       "<|tool_call>", "<tool_call|>",
                                         "<|tool_response>", "<tool_response|>", "<|\"|>"};
  return std::ranges::find(kShown, text) != std::end(kShown);
}

bool is_gemma4(const SpecialFiles& files) {
  const auto type = files.config ? files.config->string("model_type") : std::nullopt;
  return type && type->starts_with("gemma4");
}

std::string checked_pre(const std::string& pre, const std::string& where) {
  tokenizer::Pretokenizer(pre, where);
  return pre;
}

// Vocabularies with the byte alphabet.
void add_byte_level(const TokenizerJson& json, const std::string& pre, const std::string& where, TokenTable& tokens,
                    const SpecialFiles& files, gguf::Metadata& metadata) {
  metadata.set_string(kModelKey, "gpt2");
  metadata.set_string(kPreKey, pre.empty() ? recognised_pretokenizer(json, where) : checked_pre(pre, where));
  gguf::Metadata ids;
  add_special_ids(files, &json, tokens, ids);
  tokens.write(metadata, /*with_scores=*/false);
  metadata.set_strings("tokenizer.ggml.merges", json.merges);
  for (const gguf::KeyValue& entry : ids.entries()) metadata.set(entry);
}

// Vocabularies that are spelled like SentencePiece's. Those of Gemma 4, and of whoever says so by --pre, are merged by
// the runtime as they are listed; the others by scores.
void add_character_level(const TokenizerJson& json, const std::string& pre, const std::string& where,
                         TokenTable& tokens, const SpecialFiles& files, gguf::Metadata& metadata) {
  const bool gemma4 = pre.empty() && is_gemma4(files);
  const bool by_merges = gemma4 || !pre.empty();
  if (!pre.empty() && !tokenizer::Pretokenizer(pre, where).traits().sentencepiece) {
    fail(where, "--pre {} splits bytes, and this vocabulary is one of characters", printable(pre));
  }
  score_by_merges(json, tokens);
  metadata.set_string(kModelKey, gemma4 ? "gemma4" : by_merges ? "gpt2" : "llama");
  if (!gemma4) metadata.set_string(kPreKey, by_merges ? pre : "default");
  if (gemma4) {
    for (int64_t id = 0; id < tokens.size(); ++id) {
      if (is_shown(tokens.text(id))) tokens.set_type(id, TokenType::kUserDefined);
    }
  }
  gguf::Metadata ids;
  add_special_ids(files, &json, tokens, ids);
  tokens.write(metadata, /*with_scores=*/true);
  if (by_merges) metadata.set_strings("tokenizer.ggml.merges", json.merges);
  for (const gguf::KeyValue& entry : ids.entries()) metadata.set(entry);
  if (gemma4) metadata.set_boolean("tokenizer.ggml.add_bos_token", true);
  if (gemma4 || !adds_space_prefix(json)) metadata.set_boolean("tokenizer.ggml.add_space_prefix", false);
}

// ---- tokenizer.model

// What the files beside a SentencePiece model add to it or mark in it, later ones over earlier ones.
void overlay(const std::string& folder, const SpecialFiles& files, const TokenizerJson* json, TokenTable& tokens) {
  const auto add = [&](std::optional<int64_t> id, std::string_view text, bool special, const std::string& where) {
    if (!id) fail(where, "token '{}' has an id that is no number", printable(text));
    if (!tokens.contains(*id)) return;  // the embedding has no row for it
    const TokenType type = added_type(text, special);
    const bool control = type == TokenType::kControl;
    tokens.set(*id, control ? std::string(text) : user_defined_text(text), type, kAddedScore);
  };
  if (const auto added = JsonFile::find(folder, "added_tokens.json")) {
    added->root().for_each_member(
        [&](std::string_view text, const Value& id) { add(id.integer(), text, false, added->path()); });
  }
  if (files.tokenizer_config) {
    const std::string& where = files.tokenizer_config->path();
    if (const auto decoder = files.tokenizer_config->root().find("added_tokens_decoder")) {
      decoder->for_each_member([&](std::string_view key, const Value& token) {
        const auto content = token.find("content"), special = token.find("special");
        const auto text = content ? content->string() : std::nullopt;
        if (!text) fail(where, "the added token {} has no content", printable(key));
        const auto id = json::parse_document(key, where).integer();
        add(id, *text, special && special->boolean().value_or(false), where);
      });
    }
  }
  if (json == nullptr) return;
  for (const AddedToken& token : json->added) {
    if (!tokens.contains(token.id) || tokens.type(token.id) != TokenType::kUnused) continue;
    add(token.id, token.text, token.special, folder);
  }
}

void add_sentencepiece(const std::string& folder, const std::string& path, const TokenizerJson* json,
                       const SpecialFiles& files, gguf::Metadata& metadata) {
  SentencePieceModel model = read_sentencepiece_model(path);
  const auto n_pieces = static_cast<int64_t>(model.pieces.size());
  TokenTable tokens(vocab_size(files).value_or(n_pieces), n_pieces, path);
  // Where another file lists what is cut out of a text, it counts alone.
  const bool listed = files.tokenizer_config && files.tokenizer_config->root().find("added_tokens_decoder");
  for (int64_t id = 0; id < std::min(n_pieces, tokens.size()); ++id) {
    auto& [text, score, type] = model.pieces[static_cast<size_t>(id)];
    if (type == TokenType::kUserDefined) {
      type = listed ? TokenType::kNormal : TokenType::kUserDefined;
      if (!listed) text = user_defined_text(text);
    }
    tokens.set(id, std::move(text), type, score);
  }
  overlay(folder, files, json, tokens);
  metadata.set_string(kModelKey, "llama");
  metadata.set_string(kPreKey, "default");
  gguf::Metadata ids;
  add_special_ids(files, json, tokens, ids);
  tokens.write(metadata, /*with_scores=*/true);
  for (const gguf::KeyValue& entry : ids.entries()) metadata.set(entry);
  if (!model.add_dummy_prefix) metadata.set_boolean("tokenizer.ggml.add_space_prefix", false);
}

}  // namespace

gguf::Metadata tokenizer_metadata(const std::string& folder, const std::string& pre) {
  const std::string model = in_folder(folder, "tokenizer.model");
  std::error_code failure;
  const bool has_model = std::filesystem::exists(model, failure) && looks_like_sentencepiece(model);
  const std::optional<JsonFile> file = JsonFile::find(folder, "tokenizer.json");
  const SpecialFiles files(folder);
  gguf::Metadata metadata(folder);
  if (!has_model && !file) fail(folder, "found neither tokenizer.json nor a tokenizer.model of SentencePiece");

  if (has_model && !pre.empty()) fail(model, "--pre {} is for byte-level BPE; this is a SentencePiece model", pre);
  if (has_model) {
    std::optional<TokenizerJson> json;
    if (file) json = read_tokenizer_json(*file);
    add_sentencepiece(folder, model, json ? &*json : nullptr, files, metadata);
  } else {
    const TokenizerJson json = read_tokenizer_json(*file);
    TokenTable tokens = table_of(json, files, file->path());
    const auto add = json.byte_fallback ? add_character_level : add_byte_level;
    add(json, pre, file->path(), tokens, files, metadata);
  }
  const auto prefix =
      files.tokenizer_config ? files.tokenizer_config->boolean("add_prefix_space") : std::optional<bool>();
  if (prefix && metadata.string(kModelKey) == "llama") {
    metadata.set_boolean("tokenizer.ggml.add_space_prefix", *prefix);
  }
  add_chat_templates(folder, files.tokenizer_config, metadata);
  return metadata;
}

}  // namespace steelyard::huggingface
