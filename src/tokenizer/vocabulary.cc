// See vocabulary.h.
#include "tokenizer/vocabulary.h"

#include <algorithm>
#include <bit>
#include <iterator>
#include <limits>

#include "base/error.h"
#include "base/text_hash.h"

namespace steelyard::tokenizer {
namespace {

constexpr std::string_view kTokensKey = "tokenizer.ggml.tokens";
constexpr std::string_view kTypesKey = "tokenizer.ggml.token_type";

struct Name {
  std::string_view text;
  TokenType type;
  bool ends_generation;
};

// Files often give these tokens another type, or lack the key that says what they are for. Their names are as reliable.
// llama.cpp uses the same names.
constexpr Name kNames[] = {
    {"<|eot_id|>", TokenType::kControl, true},
    {"<|eom_id|>", TokenType::kControl, true},
    {"<|im_end|>", TokenType::kControl, true},
    {"<|end|>", TokenType::kControl, true},
    {"<|return|>", TokenType::kControl, true},
    {"<|call|>", TokenType::kControl, true},
    {"<|calls|>", TokenType::kControl, true},
    {"<|flush|>", TokenType::kControl, true},
    {"<end_of_turn>", TokenType::kControl, true},
    {"<|endoftext|>", TokenType::kControl, true},
    {"<|end_of_text|>", TokenType::kControl, true},
    {"<end_of_utterance>", TokenType::kControl, true},
    {"</s>", TokenType::kControl, true},
    {"<eos>", TokenType::kControl, true},
    {"<turn|>", TokenType::kControl, true},
    {"<|tool_response>", TokenType::kControl, true},
    {"<EOT>", TokenType::kControl, true},
    {"_<EOT>", TokenType::kControl, true},
    {"[EOT]", TokenType::kControl, true},
    {"[EOS]", TokenType::kControl, true},
    {"[e~[", TokenType::kControl, true},
    {"<｜end▁of▁sentence｜>", TokenType::kControl, true},
    // gpt-oss: parts of a message's frame, shown as text.
    {"<|channel|>", TokenType::kUserDefined, false},
    {"<|message|>", TokenType::kUserDefined, false},
    {"<|start|>", TokenType::kUserDefined, false},
    {"<|constrain|>", TokenType::kUserDefined, false},
};

// Tokens that frame the parts of a text whose middle is to be filled in. A name counts only in files that lack the key,
// because one model's token is another one's ordinary text.
struct FillName {
  std::string_view text;
  std::string_view key;
  bool ends_generation;
};
#define FIM "tokenizer.ggml.fim_"
constexpr FillName kFillNames[] = {
    {"<|fim_prefix|>", FIM "pre_token_id", false},
    {"<fim-prefix>", FIM "pre_token_id", false},
    {"<fim_prefix>", FIM "pre_token_id", false},
    {"<｜fim▁begin｜>", FIM "pre_token_id", false},
    {"<PRE>", FIM "pre_token_id", false},
    {"▁<PRE>", FIM "pre_token_id", false},
    {"<|code_prefix|>", FIM "pre_token_id", false},
    {"<|prefix|>", FIM "pre_token_id", false},
    {"<|fim_suffix|>", FIM "suf_token_id", false},
    {"<fim-suffix>", FIM "suf_token_id", false},
    {"<fim_suffix>", FIM "suf_token_id", false},
    {"<｜fim▁hole｜>", FIM "suf_token_id", false},
    {"<SUF>", FIM "suf_token_id", false},
    {"▁<SUF>", FIM "suf_token_id", false},
    {"<|code_suffix|>", FIM "suf_token_id", false},
    {"<|suffix|>", FIM "suf_token_id", false},
    {"<|fim_middle|>", FIM "mid_token_id", false},
    {"<fim-middle>", FIM "mid_token_id", false},
    {"<fim_middle>", FIM "mid_token_id", false},
    {"<｜fim▁end｜>", FIM "mid_token_id", false},
    {"<MID>", FIM "mid_token_id", false},
    {"▁<MID>", FIM "mid_token_id", false},
    {"<|code_middle|>", FIM "mid_token_id", false},
    {"<|middle|>", FIM "mid_token_id", false},
    {"<|fim_pad|>", FIM "pad_token_id", true},
    {"<fim-pad>", FIM "pad_token_id", true},
    {"<fim_pad>", FIM "pad_token_id", true},
    {"<PAD>", FIM "pad_token_id", true},
    {"[PAD]", FIM "pad_token_id", true},
    {"<|fim_repo|>", FIM "rep_token_id", true},
    {"<|repo_name|>", FIM "rep_token_id", true},
    {"<fim-repo>", FIM "rep_token_id", true},
    {"<REPO>", FIM "rep_token_id", true},
    {"<reponame>", FIM "rep_token_id", true},
    {"<|file_sep|>", FIM "sep_token_id", true},
};
#undef FIM

}  // namespace

bool ends_by_name(std::string_view text) {
  return std::ranges::any_of(kNames, [&](const Name& name) { return name.ends_generation && name.text == text; });
}

std::string key_location(const gguf::Metadata& metadata, std::string_view key) {
  return metadata.source().empty() ? std::string(key) : metadata.source() + ": " + std::string(key);
}

Vocabulary::Vocabulary(const gguf::Metadata& metadata) {
  const std::vector<std::string_view> texts = metadata.strings(kTokensKey);
  if (texts.empty() || texts.size() > std::numeric_limits<TokenId>::max()) {
    fail(key_location(metadata, kTokensKey), "found {} tokens, expected 1 to 2^31 - 1", texts.size());
  }
  size_t total = 0;
  for (const std::string_view text : texts) total += text.size();
  texts_.reserve(total);  // views into it must stay
  tokens_.reserve(texts.size());
  slots_.resize(std::bit_ceil(texts.size() + texts.size() / 2 + 1));
  for (const std::string_view text : texts) add(text);
  if (metadata.contains(kTypesKey)) read_types(metadata);
  apply_names(metadata);
}

void Vocabulary::add(std::string_view text) {
  const auto id = static_cast<TokenId>(tokens_.size());
  const size_t begin = texts_.size();
  texts_ += text;
  tokens_.push_back({std::string_view(texts_).substr(begin)});
  if (text.empty()) return;
  longest_ = std::max(longest_, text.size());
  const uint64_t hash = text_hash(text);
  Slot& slot = slots_[slot_of(text, hash)];
  if (slot.id >= 0) {
    repeated_.push_back(id);
    return;
  }
  slot = {static_cast<uint32_t>(hash >> 32), id};
}

size_t Vocabulary::slot_of(std::string_view text, uint64_t hash) const {
  const size_t mask = slots_.size() - 1;
  const auto high = static_cast<uint32_t>(hash >> 32);
  for (size_t i = hash & mask;; i = (i + 1) & mask) {
    const Slot& slot = slots_[i];
    if (slot.id < 0 || (slot.hash == high && tokens_[slot.id].text == text)) return i;
  }
}

std::optional<TokenId> Vocabulary::find(std::string_view text) const {
  if (text.size() > longest_) return std::nullopt;  // whoever joins tokens asks for what grows and grows
  const Slot& slot = slots_[slot_of(text, text_hash(text))];
  return slot.id < 0 ? std::nullopt : std::optional(slot.id);
}

void Vocabulary::read_types(const gguf::Metadata& metadata) {
  const std::vector<int64_t> types = metadata.integers(kTypesKey);
  if (types.size() != tokens_.size()) {
    fail(key_location(metadata, kTypesKey), "found {} types for {} tokens", types.size(), tokens_.size());
  }
  for (size_t id = 0; id < types.size(); ++id) {
    if (types[id] < 0 || types[id] > static_cast<int>(TokenType::kByte)) {
      fail(key_location(metadata, kTypesKey), "token {} has type {}, expected 0 to 6", id, types[id]);
    }
    tokens_[id].type = static_cast<TokenType>(types[id]);
  }
}

std::vector<TokenId> Vocabulary::all_spelled(std::string_view text) const {
  std::vector<TokenId> ids;
  if (const std::optional<TokenId> first = find(text)) ids.push_back(*first);
  std::ranges::copy_if(repeated_, std::back_inserter(ids), [&](TokenId id) { return tokens_[id].text == text; });
  return ids;
}

void Vocabulary::apply_names(const gguf::Metadata& metadata) {
  for (const Name& name : kNames) {
    for (const TokenId id : all_spelled(name.text)) {
      tokens_[id].type = name.type;
      if (name.ends_generation) ends_by_name_.insert(id);
    }
  }
  for (const FillName& name : kFillNames) {
    if (metadata.contains(name.key)) continue;
    for (const TokenId id : all_spelled(name.text)) {
      tokens_[id].type = TokenType::kControl;
      if (name.ends_generation) ends_by_name_.insert(id);
    }
  }
  // Gemma 4 has an HTML tag of this name.
  if (find("<|tool_response>")) {
    for (const TokenId id : all_spelled("</s>")) {
      ends_by_name_.erase(id);
      tokens_[id].type = TokenType::kNormal;
    }
  }
  // gpt-oss and solar-open close each message of a turn with <|end|>, the turn itself with one of the others.
  const bool calls = find("<|call|>") || find("<|calls|>");
  const bool returns = find("<|return|>") || find("<|flush|>");
  if (!calls || !returns) return;
  for (const TokenId end : all_spelled("<|end|>")) {
    ends_by_name_.erase(end);
    tokens_[end].type = TokenType::kUserDefined;
  }
}

}  // namespace steelyard::tokenizer
