// Pre-tokenizers as models publish them, beside those of pretokenizer.cc, which are what the runtime runs. A
// tokenizer.json lists steps: regular expressions, or names of what the tokenizers library does without one. Equal
// steps mean an equal split; where several names of tokenizer.ggml.pre split alike, a token that only some models have
// tells them apart.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace steelyard::tokenizer {

/// A pre-tokenizer as tokenizer.json has it.
struct PublishedPretokenizer {
  std::vector<std::string> steps;  ///< regular expressions whose matches become pieces, or other steps' names
  bool ignore_merges = false;
  std::function<bool(std::string_view token)> has_token;
};

/// What tokenizer.ggml.pre calls it; nothing if the table has no such steps.
std::optional<std::string_view> pretokenizer_name(const PublishedPretokenizer& published);

/// The expression that ByteLevel of the tokenizers library splits by.
inline constexpr std::string_view kByteLevelPattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

/// A regular expression in the spelling by which the table compares: some have several for the same.
std::string canonical_pattern(std::string_view pattern);

/// For tests: names of the table with their steps. A step that ends in "..." stands for all that begin so.
struct PublishedEntry {
  std::string_view name;
  std::span<const std::string_view> steps;
};
std::vector<PublishedEntry> published_pretokenizers();

}  // namespace steelyard::tokenizer
