// See token_table.h.
#include "huggingface/token_table.h"

#include <fmt/format.h>

#include <utility>

#include "base/error.h"

namespace steelyard::huggingface {
namespace {

using tokenizer::TokenType;

constexpr int64_t kMostUnnamed = 65536;
constexpr std::string_view kSpace = "\xE2\x96\x81";  // U+2581

bool looks_special(std::string_view text) {
  const auto between = [&](std::string_view open, std::string_view close) {
    return text.starts_with(open) && text.ends_with(close);
  };
  return text == "<pad>" || text == "<mask>" || text == "<2mass>" || text == "[@BOS@]" || between("<|", "|>") ||
         between("<\xEF\xBD\x9C", "\xEF\xBD\x9C>") || between("<unused", ">");
}

}  // namespace

TokenTable::TokenTable(int64_t n, int64_t n_named, const std::string& where) {
  if (n <= 0 || n > n_named + kMostUnnamed) {
    fail(where, "found a vocabulary of {} tokens of which {} have a text, expected at most {} without one", n, n_named,
         kMostUnnamed);
  }
  for (int64_t id = 0; id < n; ++id) texts_.push_back(fmt::format("[PAD{}]", id));
  types_.assign(texts_.size(), static_cast<int32_t>(TokenType::kUnused));
  scores_.assign(texts_.size(), -10000.0f);
}

void TokenTable::set(int64_t id, std::string text, TokenType type, float score) {
  const auto i = static_cast<size_t>(id);
  texts_[i] = std::move(text);
  types_[i] = static_cast<int32_t>(type);
  scores_[i] = score;
}

void TokenTable::write(gguf::Metadata& metadata, bool with_scores) const {
  metadata.set_strings("tokenizer.ggml.tokens", texts_);
  if (with_scores) metadata.set_reals("tokenizer.ggml.scores", scores_);
  metadata.set_integers("tokenizer.ggml.token_type", types_);
}

TokenType added_type(std::string_view text, bool special) {
  return special || looks_special(text) ? TokenType::kControl : TokenType::kUserDefined;
}

std::string user_defined_text(std::string_view text) {
  std::string spelled(text);
  for (size_t at = spelled.find(kSpace); at != std::string::npos; at = spelled.find(kSpace, at + 1)) {
    spelled.replace(at, kSpace.size(), " ");
  }
  return spelled;
}

}  // namespace steelyard::huggingface
