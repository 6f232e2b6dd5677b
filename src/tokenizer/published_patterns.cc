// See published_patterns.h. The patterns are those of the models' tokenizer.json; most stand in comments of llama.cpp's
// llama-vocab.cpp as well.
#include "tokenizer/published_patterns.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/utf8.h"

namespace steelyard::tokenizer {
namespace {

#define CONTRACTION "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define WORD R"([^\r\n\p{L}\p{N}]?\p{L}+)"
#define SYMBOLS R"( ?[^\s\p{L}\p{N}]+)"
#define SPACES R"(\s*[\r\n]+|\s+(?!\S)|\s+)"
#define UPPER R"([\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}])"
#define LOWER R"([\p{Ll}\p{Lm}\p{Lo}\p{M}])"
#define CASED(contraction) \
  R"([^\r\n\p{L}\p{N}]?)" UPPER "*" LOWER "+" contraction R"(|[^\r\n\p{L}\p{N}]?)" UPPER "+" LOWER "*" contraction

constexpr std::string_view kDigit = R"(\p{N})", kDigits = R"(\p{N}+)", kThreeDigits = R"(\p{N}{1,3})";
constexpr std::string_view kLlama3 = CONTRACTION "|" WORD R"(|\p{N}{1,3}|)" SYMBOLS R"([\r\n]*|)" SPACES;
constexpr std::string_view kQwen2 = CONTRACTION "|" WORD R"(|\p{N}|)" SYMBOLS R"([\r\n]*|)" SPACES;
constexpr std::string_view kQwen35 =
    CONTRACTION R"(|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|)" SPACES;
constexpr std::string_view kUfakzeka = WORD R"(|\p{N}|)" SYMBOLS R"([\r\n]*|)" SPACES;
constexpr std::string_view kMiniCpm5 = CONTRACTION "|" WORD R"(|\p{N}+|)" SYMBOLS R"([\r\n]*|)" SPACES;
constexpr std::string_view kExaoneMoe = CONTRACTION
    R"(|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}|)" SYMBOLS R"([\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+)";
constexpr std::string_view kSeedCoder = CONTRACTION "|" WORD R"(|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|)" SPACES;
constexpr std::string_view kBailingMoe = CONTRACTION "|" WORD R"(|\p{N}|)" SYMBOLS R"([\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)";
constexpr std::string_view kJais2 =
    CONTRACTION "|" WORD R"(|\p{N}{1,3}|)" SYMBOLS
                R"([\r\n]*|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S))"
                R"(|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1})";
constexpr std::string_view kGpt4o = CASED(CONTRACTION "?") R"(|\p{N}{1,3}|)" SYMBOLS R"([\r\n/]*|)" SPACES;
constexpr std::string_view kYoutu = CASED(CONTRACTION "?") R"(|\p{N}|)" SYMBOLS R"([\r\n/]*|)" SPACES;
constexpr std::string_view kYoutuScripts =
    R"([\x{AC00}-\x{D7A3}\x{3131}-\x{318E}]+|[\x{FF01}\x{2026}\x{201C}\x{201D}\x{2018}\x{2019}\x{2014}\x{FF1A}\x{FF1B})"
    R"(\x{FF0C}\x{3001}-\x{303F}\x{FE30}-\x{FE4F}]+|[\x{3105}-\x{312F}]+|[\x{4E00}-\x{9FA5}\x{3040}-\x{30FF}]+)";
constexpr std::string_view kTekken = CASED("") R"(|\p{N}|)" SYMBOLS R"([\r\n/]*|)" SPACES;
constexpr std::string_view kThreesFromTheEnd = R"(\d{1,3}(?=(?:\d{3})*\b))";
constexpr std::string_view kLines = R"([^\n]+|[\n]+)";
// Han characters are taken out of the classes of letters.
#define NO_HAN_UPPER R"([\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]])"
#define NO_HAN_LOWER R"([\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]])"
constexpr std::string_view kKimiK2 = R"([\p{Han}]+|[^\r\n\p{L}\p{N}]?)" NO_HAN_UPPER "*" NO_HAN_LOWER "+" CONTRACTION
                                     R"(?|[^\r\n\p{L}\p{N}]?)" NO_HAN_UPPER "+" NO_HAN_LOWER "*" CONTRACTION
                                     R"(?|\p{N}{1,3}|)" SYMBOLS R"([\r\n]*|)" SPACES;
constexpr std::string_view kDeepseekV3Cjk = R"([\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+)";
#define ASCII_PUNCTUATION R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~])"
constexpr std::string_view kDeepseekV3 =
    ASCII_PUNCTUATION R"([A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|)" SPACES;
constexpr std::string_view kSpark =
    ASCII_PUNCTUATION R"([A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+)";
constexpr std::string_view kLineEnd = R"([\r\n])";
constexpr std::string_view kDeepseekLetters = R"(\s?[A-Za-z\x{B5}\x{C0}-\x{D6}...)";  // all letters with case
constexpr std::string_view kDeepseekPunctuation =
    R"(\s?[!-/:-~\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF5E}\x{2018}-\x{201F}\x{3000}-\x{3002}]+)";
constexpr std::string_view kDeepseekCjk = R"([\x{4E00}-\x{9FA5}\x{800}-\x{4E00}\x{AC00}-\x{D7FF}]+)";
constexpr std::string_view kBloom = R"( ?[^(\s|[.,!?\x{2026}\x{3002}\x{FF0C}\x{3001}\x{964}\x{6D4}\x{60C}])]+)";

struct Entry {
  std::string_view name;
  std::vector<std::string_view> steps;
  std::string_view token = {};             // that such a model has; empty: any
  std::optional<bool> ignore_merges = {};  // as tokenizer.json says; nothing: either
};

// The first that fits counts. To add a pre-tokenizer, add a line.
const std::vector<Entry>& table() {
  static const std::vector<Entry> entries = {
      {"gpt-2", {kByteLevelPattern}},
      {"starcoder", {kDigit, kByteLevelPattern}, "<fim_prefix>"},
      {"command-r", {kDigit, kByteLevelPattern}, "<|START_OF_TURN_TOKEN|>"},
      {"smollm", {kDigit, kByteLevelPattern}},
      {"falcon", {"Punctuation Contiguous", kByteLevelPattern, kDigits, "[0-9][0-9][0-9]"}},
      {"glm4", {kLlama3}, "[gMASK]"},
      {"llama-bpe", {kLlama3}, {}, true},
      {"llama-bpe", {kLlama3}, "<|begin_of_text|>"},
      {"dbrx", {kLlama3}},
      {"jais-2", {kJais2}},
      {"minicpm5", {kThreeDigits, kMiniCpm5}},
      {"deepseek-r1-qwen",
       {kQwen2},
       "<\xEF\xBD\x9C"
       "begin\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>"},
      {"qwen2", {kQwen2}},
      {"laguna", {kLines, kQwen2}},
      {"qwen35", {kQwen35}},
      {"ufakzeka", {kUfakzeka}},
      {"exaone-moe", {kExaoneMoe}},
      {"seed-coder", {kSeedCoder}},
      {"bailingmoe2", {kBailingMoe}},
      {"minimax-m2", {kGpt4o}, "]~b]"},
      {"llama4", {kGpt4o}, "<|header_start|>"},
      {"gpt-4o", {kGpt4o}},
      {"tiny_aya", {kThreesFromTheEnd, kGpt4o}},
      {"youtu", {kYoutuScripts, kYoutu}},
      {"tekken", {kTekken}},
      {"kimi-k2", {kKimiK2}},
      {"deepseek-llm", {kLineEnd, kDeepseekLetters, kDeepseekPunctuation, R"(\s+$)", kDeepseekCjk, kDigits}},
      {"deepseek-llm", {kLineEnd, kDeepseekLetters, kDeepseekPunctuation, R"(\s+$)", kDeepseekCjk, kDigit}},
      {"deepseek-coder", {kLineEnd, R"(\s?\p{L}+)", R"(\s?\p{P}+)", kDeepseekCjk, kDigit}},
      {"deepseek-v3", {kThreeDigits, kDeepseekV3Cjk, kDeepseekV3}},
      {"spark2_5", {kThreeDigits, kDeepseekV3Cjk, kSpark, kDigit}},
      {"bloom", {kBloom}},
      {"viking", {kBloom, kDigit}},
  };
  return entries;
}

constexpr std::pair<std::string_view, std::string_view> kSpellings[] = {
    {"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])", CONTRACTION},
    {"'(?i:[sdmt]|ll|ve|re)", CONTRACTION},
    {"(?i:'[sdmt]|'ll|'ve|'re)", CONTRACTION},
    {"{1}", ""},
    {"[\\n]+", "\\n+"},
};

bool same(std::string_view known, std::string_view step) {
  if (!known.ends_with("...")) return canonical_pattern(known) == step;
  return step.starts_with(canonical_pattern(known.substr(0, known.size() - 3)));
}

}  // namespace

std::string canonical_pattern(std::string_view pattern) {
  std::string spelled;
  for (size_t i = 0; i < pattern.size();) {
    const size_t length = std::max<size_t>(utf8_length(pattern, i), 1);
    const std::string_view character = pattern.substr(i, length);
    i += length;
    if (character == "\\" && i < pattern.size()) {
      const size_t escaped = std::max<size_t>(utf8_length(pattern, i), 1);
      spelled.append("\\").append(pattern.substr(i, escaped));
      i += escaped;
    } else if (character == "\r" || character == "\n" || character == "\t") {
      spelled += character == "\r" ? "\\r" : character == "\n" ? "\\n" : "\\t";
    } else if (character == "+" && !spelled.empty() &&
               std::string_view("+?*").find(spelled.back()) != std::string::npos &&
               !(spelled.size() > 1 && spelled[spelled.size() - 2] == '\\')) {
      // Possessive: the same matches where nothing that follows could take back what was matched.
    } else if (length > 1) {
      uint32_t code = static_cast<unsigned char>(character[0]) & (0xFFu >> (length + 1));
      for (size_t k = 1; k < length; ++k) code = code << 6 | (static_cast<unsigned char>(character[k]) & 0x3Fu);
      spelled += fmt::format("\\x{{{:X}}}", code);
    } else {
      spelled += character;
    }
  }
  for (const auto& [other, one] : kSpellings) {
    for (size_t at = spelled.find(other); at != std::string::npos; at = spelled.find(other, at + one.size())) {
      spelled.replace(at, other.size(), one);
    }
  }
  return spelled;
}

std::optional<std::string_view> pretokenizer_name(const PublishedPretokenizer& published) {
  std::vector<std::string> steps;
  for (const std::string& step : published.steps) steps.push_back(canonical_pattern(step));
  for (const Entry& entry : table()) {
    if (!std::ranges::equal(entry.steps, steps, same)) continue;
    if (entry.ignore_merges && *entry.ignore_merges != published.ignore_merges) continue;
    if (entry.token.empty() || published.has_token(entry.token)) return entry.name;
  }
  return std::nullopt;
}

std::vector<PublishedEntry> published_pretokenizers() {
  std::vector<PublishedEntry> entries;
  for (const Entry& entry : table()) entries.push_back({entry.name, entry.steps});
  return entries;
}

}  // namespace steelyard::tokenizer
