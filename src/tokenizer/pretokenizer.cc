// See pretokenizer.h. The patterns are those the models publish (the "pre_tokenizer" of tokenizer.json), as llama.cpp
// runs them: where it deviates, its reading is kept, because GGUF files are made for it and ids must agree.
//
//   - \s is Unicode White_Space.
//   - Contractions are case-insensitive for ASCII only: 's does not match U+017F.
//   - In gpt-4o and tekken every letter beyond ASCII counts as both upper and lower case, and marks are no letters.
//   - Where a published class holds white space as an ordinary character (U+3000 in a range), it is cut out.
#define PCRE2_CODE_UNIT_WIDTH 8
#include "tokenizer/pretokenizer.h"

#include <fmt/ranges.h>
#include <pcre2.h>

#include <cstdint>

#include "base/check.h"
#include "base/error.h"

namespace steelyard::tokenizer {
namespace {

// Shared parts. [^\P{L}a-z] reads: letters, but not a-z.
#define CONTRACTION "'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])"
#define WORD R"([^\r\n\p{L}\p{N}]?\p{L}+)"
#define CASED_WORD_UPPER R"([^\r\n\p{L}\p{N}]?[^\P{L}a-z]+[^\P{L}A-Z]*)"
#define CASED_WORD_LOWER R"([^\r\n\p{L}\p{N}]?[^\P{L}a-z]*[^\P{L}A-Z]+)"
#define SYMBOLS R"( ?[^\s\p{L}\p{N}]+)"
#define SPACES R"(\s*[\r\n]+|\s+(?!\S)|\s+)"
#define HAN \
  R"(\x{3400}-\x{4DBF}\x{4E00}-\x{9FFF}\x{F900}-\x{FAFF}\x{20000}-\x{2A6DF}\x{2A700}-\x{2EBEF}\x{2F800}-\x{2FA1F})"

constexpr const char* kGpt2 = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr const char* kLlama3 = CONTRACTION "|" WORD R"(|\p{N}{1,3}|)" SYMBOLS R"([\r\n]*|)" SPACES;
constexpr const char* kQwen2 = CONTRACTION "|" WORD R"(|\p{N}|)" SYMBOLS R"([\r\n]*|)" SPACES;
constexpr const char* kQwen35 =
    CONTRACTION R"(|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|)" SPACES;
constexpr const char* kUfakzeka = WORD R"(|\p{N}|)" SYMBOLS R"([\r\n]*|)" SPACES;
constexpr const char* kMiniCpm5 = CONTRACTION "|" WORD R"(|\p{N}+|)" SYMBOLS R"([\r\n]*|)" SPACES;
// Possessive, because nothing follows, and backtracking over a long run would exhaust the stack.
constexpr const char* kExaoneMoe = CONTRACTION
    R"(|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*+(?: \p{L}\p{M}*+)*+)++|\p{N}|)" SYMBOLS R"([\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+)";
constexpr const char* kSeedCoder = CONTRACTION "|" WORD R"(|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|)" SPACES;
constexpr const char* kBailingMoe = CONTRACTION "|" WORD R"(|\p{N}|)" SYMBOLS R"([\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)";
constexpr const char* kGpt4o = CASED_WORD_LOWER "(?:" CONTRACTION ")?|" CASED_WORD_UPPER "(?:" CONTRACTION
                                                R"()?|\p{N}{1,3}|)" SYMBOLS R"([\r\n/]*|)" SPACES;
// With marks, and without the case that llama.cpp does not see here.
#define MARKED_WORD R"([^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+(?:)" CONTRACTION ")?"
constexpr const char* kTinyAya = MARKED_WORD R"(|\p{N}{1,3}|)" SYMBOLS R"([\r\n/]*|)" SPACES;
constexpr const char* kYoutu = MARKED_WORD R"(|\p{N}|)" SYMBOLS R"([\r\n/]*|)" SPACES;
constexpr const char* kYoutuScripts =
    R"([\x{AC00}-\x{D7A3}\x{3131}-\x{318E}]+|[\x{FF01}\x{2026}\x{201C}\x{201D}\x{2018}\x{2019}\x{2014}\x{FF1A}\x{FF1B})"
    R"(\x{FF0C}\x{3001}-\x{303F}\x{FE30}-\x{FE4F}]+|[\x{3105}-\x{312F}]+|[\x{4E00}-\x{9FA5}\x{3040}-\x{30FF}]+)";
constexpr const char* kJais2 =
    CONTRACTION "|" WORD R"(|\p{N}{1,3}|)" SYMBOLS
                R"([\r\n]*|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S))"
                R"(|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s)";
constexpr const char* kBloom = R"( ?[^(\s|.,!?\x{2026}\x{3002}\x{FF0C}\x{3001}\x{964}\x{6D4}\x{60C})]+)";
// Numbers in threes from their end, the first part together with the text in front of it. Three steps, so that a number
// is looked through once: apart from the text behind it; the one or two digits that are over; the threes.
#define NUMBERS_FROM_THE_END \
  R"(\P{N}*+\p{N}++|\P{N}++)", R"(\A\P{N}*+\p{N}{1,2}(?=(?:\p{N}{3})*+\z))", R"(\A\P{N}*+\p{N}{3}|\p{N}{3})"
// The third range is wide because its author meant U+F900, which normalizes to U+8C48.
constexpr const char* kAfmoeScripts =
    R"([\x{4E00}-\x{9FFF}\x{3400}-\x{4DBF}\x{8C48}-\x{FAFF}\x{3040}-\x{30FF}\x{FF65}-\x{FF9F}\x{2F00}-\x{2FDF})"
    R"(\x{E40}-\x{EFF}\x{1780}-\x{17FF}\x{1000}-\x{109F}\x{AA60}-\x{AA7F}\x{A9E0}-\x{A9FF}\x{AC00}-\x{D7AF})"
    R"(\x{1100}-\x{11FF}]+)";
constexpr const char* kLines = R"([^\n]+|\n+)";
constexpr const char* kTekken = CASED_WORD_LOWER "|" CASED_WORD_UPPER R"(|\p{N}|)" SYMBOLS R"([\r\n/]*|)" SPACES;
constexpr const char* kKimiK2 =
    "[" HAN R"(]+|[^\r\n\p{L}\p{N}]?[^\P{L})" HAN "]+(?:" CONTRACTION R"()?|\p{N}{1,3}|)" SYMBOLS R"([\r\n]*|)" SPACES;
constexpr const char* kDeepseekV3Cjk = R"([\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+)";
constexpr const char* kSpark =
    R"([!-/:-@\[-`{-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+)";
constexpr const char* kDeepseekV3 =
    R"([!-/:-@\[-`{-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|)" SPACES;
// Letters with case, as the model lists them (Unicode 11).
constexpr const char* kDeepseekLetters =
    R"(\s?[A-Za-z\x{B5}\x{C0}-\x{D6}\x{D8}-\x{F6}\x{F8}-\x{1BA}\x{1BC}-\x{1BF}\x{1C4}-\x{293}\x{295}-\x{2AF})"
    R"(\x{370}-\x{373}\x{376}\x{377}\x{37B}-\x{37D}\x{37F}\x{386}\x{388}-\x{38A}\x{38C}\x{38E}-\x{3A1})"
    R"(\x{3A3}-\x{3F5}\x{3F7}-\x{481}\x{48A}-\x{52F}\x{531}-\x{556}\x{10A0}-\x{10C5}\x{13A0}-\x{13F5})"
    R"(\x{13F8}-\x{13FD}\x{1C90}-\x{1CBA}\x{1CBD}-\x{1CBF}\x{1D00}-\x{1D2B}\x{1D6B}-\x{1D77}\x{1D79}-\x{1D9A})"
    R"(\x{1E00}-\x{1F15}\x{1F18}-\x{1F1D}\x{1F20}-\x{1F45}\x{1F48}-\x{1F4D}\x{1F50}-\x{1F57}\x{1F59}\x{1F5B}\x{1F5D})"
    R"(\x{1F5F}-\x{1F7D}\x{1F80}-\x{1FB4}\x{1FB6}-\x{1FBC}\x{1FBE}\x{1FC2}-\x{1FC4}\x{1FC6}-\x{1FCC})"
    R"(\x{1FD0}-\x{1FD3}\x{1FD6}-\x{1FDB}\x{1FE0}-\x{1FEC}\x{1FF2}-\x{1FF4}\x{1FF6}-\x{1FFC}\x{2102}\x{2107})"
    R"(\x{210A}-\x{2113}\x{2115}\x{2119}-\x{211D}\x{2124}\x{2126}\x{2128}\x{212A}-\x{212D}\x{212F}-\x{2134}\x{2139})"
    R"(\x{213C}-\x{213F}\x{2145}-\x{2149}\x{214E}\x{2183}\x{2184}\x{2C00}-\x{2C7B}\x{2C7E}-\x{2CE4}\x{2CEB}-\x{2CEE})"
    R"(\x{2CF2}\x{2CF3}\x{A640}-\x{A66D}\x{A680}-\x{A69B}\x{A722}-\x{A76F}\x{A771}-\x{A787}\x{A78B}-\x{A78E})"
    R"(\x{AB70}-\x{ABBF}\x{FB00}-\x{FB06}\x{FB13}-\x{FB17}\x{FF21}-\x{FF3A}\x{FF41}-\x{FF5A}\x{10400}-\x{1044F})"
    R"(\x{104B0}-\x{104D3}\x{104D8}-\x{104FB}\x{10C80}-\x{10CB2}\x{10CC0}-\x{10CF2}\x{118A0}-\x{118DF})"
    R"(\x{1E900}-\x{1E943}]+)";
constexpr const char* kDeepseekPunctuation =
    R"(\s?[!-/:-~\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF5E}\x{2018}-\x{201F}\x{3001}\x{3002}]+)";
// U+0800-U+9FA5 and Hangul, without the white space in between.
constexpr const char* kDeepseekCjk =
    R"([\x{800}-\x{167F}\x{1681}-\x{1FFF}\x{200B}-\x{2027}\x{202A}-\x{202E}\x{2030}-\x{205E}\x{2060}-\x{2FFF})"
    R"(\x{3001}-\x{9FA5}\x{AC00}-\x{D7FF}]+)";
// The look-behind and the possessive + keep a long run of spaces in the middle of a piece from taking quadratic time.
constexpr const char* kTrailingSpaces = R"((?<!\s)\s++\z)";

struct Entry {
  std::string_view name;
  std::vector<const char*> patterns;
  PretokenizerTraits traits = {};
};

constexpr PretokenizerTraits kWhole = {.ignore_merges = true};
constexpr PretokenizerTraits kWholeAndBos = {.ignore_merges = true, .add_bos = true};

// To add a pre-tokenizer, add a line.
const std::vector<Entry>& table() {
  static const std::vector<Entry> entries = {
      {"default", {R"([\p{P}$+<=>^~|]+)", kGpt2, R"(\p{N}+)", "[0-9][0-9][0-9]"}},
      {"gpt-2", {kGpt2}},
      {"gpt2", {kGpt2}},
      {"a.x-4.0", {kGpt2}},
      {"exaone4", {kGpt2}},
      {"gigachat", {kGpt2}},
      {"granite-docling", {kGpt2}},
      {"jais", {kGpt2}},
      {"mellum", {kGpt2}},
      {"mpt", {kGpt2}},
      {"olmo", {kGpt2}},
      {"phi-2", {kGpt2}},
      {"trillion", {kGpt2}},
      {"starcoder", {R"(\p{N})", kGpt2}},
      {"codeshell", {R"(\p{N})", kGpt2}},
      {"command-r", {R"(\p{N})", kGpt2}},
      {"exaone", {R"(\p{N})", kGpt2}},
      {"minerva-7b", {R"(\p{N})", kGpt2}},
      {"refact", {R"(\p{N})", kGpt2}},
      {"smollm", {R"(\p{N})", kGpt2}},
      {"mellum2", {R"(\p{N})", kGpt2}},
      {"falcon", {R"([\p{P}$+<=>^~|`]+)", kGpt2, "[0-9][0-9][0-9]"}},
      {"llama-bpe", {kLlama3}, kWholeAndBos},
      {"llama3", {kLlama3}, kWholeAndBos},
      {"llama-v3", {kLlama3}, kWholeAndBos},
      {"falcon3", {kLlama3}, kWholeAndBos},
      {"falcon-h1", {kLlama3}, kWholeAndBos},
      {"lfm2", {kLlama3}, kWholeAndBos},
      {"midm-2.0", {kLlama3}, kWholeAndBos},
      {"pixtral", {kLlama3}, kWholeAndBos},
      {"dbrx", {kLlama3}},
      {"smaug-bpe", {kLlama3}},
      {"jais-2", {kJais2}},
      {"glm4", {kLlama3}, kWhole},
      {"glm5", {kLlama3}, kWhole},
      {"chatglm-bpe", {kLlama3}},
      {"qwen2", {kQwen2}},
      {"deepseek-r1-qwen", {kQwen2}},
      {"grok-2", {kQwen2}},
      {"hunyuan", {kQwen2}},
      {"megrez", {kQwen2}},
      {"solar-open", {kQwen2}},
      {"stablelm2", {kQwen2}},
      {"kormo", {kQwen2}},
      {"qwen35", {kQwen35}},
      {"f2llmv2", {kQwen2}},
      {"ufakzeka", {kUfakzeka}},
      {"minicpm5", {R"(\p{N}{1,3})", kMiniCpm5}, kWhole},
      {"laguna", {kLines, kQwen2}},
      {"exaone-moe", {kExaoneMoe}},
      {"seed-coder", {kSeedCoder}},
      {"bailingmoe", {kBailingMoe}},
      {"bailingmoe2", {kBailingMoe}},
      {"llada-moe", {kBailingMoe}},
      {"gpt-4o", {kGpt4o}},
      {"kanana2", {kGpt4o}},
      {"llama4", {kGpt4o}},
      {"minimax-m2", {kGpt4o}},
      {"talkie", {kGpt4o}},
      {"tiny_aya", {NUMBERS_FROM_THE_END, kTinyAya}},
      {"cohere2moe", {NUMBERS_FROM_THE_END, kTinyAya}},
      {"youtu", {kYoutuScripts, kYoutu}, kWhole},
      {"tekken", {kTekken}, kWholeAndBos},
      {"kimi-k2", {kKimiK2}},
      {"deepseek-llm",
       {R"([\r\n])", kDeepseekLetters, kDeepseekPunctuation, kTrailingSpaces, kDeepseekCjk, R"(\p{N}+)"}},
      {"deepseek-coder", {R"([\r\n])", R"(\s?\p{L}+)", R"(\s?\p{P}+)", kDeepseekCjk, R"(\p{N})"}},
      {"deepseek-v3", {R"(\p{N}{1,3})", kDeepseekV3Cjk, kDeepseekV3}},
      {"hy_v4", {R"(\p{N}{1,3})", kDeepseekV3Cjk, kDeepseekV3}},
      {"spark2_5", {R"(\p{N}{1,3})", kDeepseekV3Cjk, kSpark, R"(\p{N})"}},
      {"hunyuan-dense", {R"(\p{N}{1,3})", kDeepseekV3Cjk, kDeepseekV3}},
      {"joyai-llm", {R"(\p{N}{1,3})", kDeepseekV3Cjk, kDeepseekV3}},
      {"afmoe", {NUMBERS_FROM_THE_END, kAfmoeScripts, kDeepseekV3}},
      {"bloom", {kBloom}},
      {"gpt3-finnish", {kBloom}},
      {"poro-chat", {kBloom}},
      {"viking", {kBloom, R"(\p{N})"}},
      {"gemma4", {kLines}, {.add_bos = true, .insists_on_bos = true, .sentencepiece = true, .whole_line_ends = true}},
      {"sarvam-moe", {kLines}, {.sentencepiece = true}},
  };
  return entries;
}

// PCRE2's \s also matches U+180E, which left White_Space with Unicode 6.3.
std::string with_white_space(std::string_view pattern) {
  std::string result;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const std::string_view two = pattern.substr(i, 2);
    if (two == "\\s" || two == "\\S") {
      result += two == "\\s" ? "\\p{White_Space}" : "\\P{White_Space}";
      ++i;
    } else if (pattern[i] == '\\') {
      result += two;
      ++i;
    } else {
      result += pattern[i];
    }
  }
  return result;
}

pcre2_code* compile(const char* pattern) {
  const std::string source = with_white_space(pattern);
  int error = 0;
  size_t offset = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(source.data()), source.size(), PCRE2_UTF | PCRE2_UCP,
                                   &error, &offset, nullptr);
  STEELYARD_CHECK(code != nullptr);
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);  // without it matching is slower, not different
  return code;
}

// One pattern in use. Match data belongs to the call, so split() may be called from several threads.
class Matcher {
 public:
  explicit Matcher(const pcre2_code* code)
      : code_(code),
        data_(pcre2_match_data_create_from_pattern(code, nullptr), pcre2_match_data_free),
        limits_(pcre2_match_context_create(nullptr), pcre2_match_context_free) {
    // No pattern backtracks more than once over a piece, so the only bound is the length of the text.
    pcre2_set_match_limit(limits_.get(), UINT32_MAX);
  }

  // Appends what `piece` falls into.
  void split(std::string_view piece, std::vector<std::string_view>& pieces) {
    const auto* subject = reinterpret_cast<PCRE2_SPTR>(piece.data());
    size_t done = 0;
    while (done < piece.size()) {
      const int n = pcre2_match(code_, subject, piece.size(), done, PCRE2_NO_UTF_CHECK, data_.get(), limits_.get());
      if (n == PCRE2_ERROR_NOMATCH) break;
      STEELYARD_CHECK(n > 0);
      const size_t* match = pcre2_get_ovector_pointer(data_.get());
      STEELYARD_CHECK(match[1] > match[0]);
      if (match[0] > done) pieces.push_back(piece.substr(done, match[0] - done));
      pieces.push_back(piece.substr(match[0], match[1] - match[0]));
      done = match[1];
    }
    if (done < piece.size()) pieces.push_back(piece.substr(done));
  }

 private:
  const pcre2_code* code_;
  std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> data_;
  std::unique_ptr<pcre2_match_context, decltype(&pcre2_match_context_free)> limits_;
};

}  // namespace

void Pretokenizer::FreePattern::operator()(pcre2_real_code_8* pattern) const { pcre2_code_free(pattern); }

Pretokenizer::Pretokenizer(std::string_view name, const std::string& where) {
  for (const Entry& entry : table()) {
    if (entry.name != name) continue;
    for (const char* pattern : entry.patterns) patterns_.emplace_back(compile(pattern));
    traits_ = entry.traits;
    return;
  }
  fail(where, "unknown pre-tokenizer '{}'; known are {}", printable(name), fmt::join(names(), ", "));
}

std::vector<std::string_view> Pretokenizer::split(std::string_view text) const {
  if (text.empty()) return {};
  std::vector<std::string_view> pieces = {text};
  for (const auto& pattern : patterns_) {
    Matcher matcher(pattern.get());
    std::vector<std::string_view> finer;
    for (const std::string_view piece : pieces) matcher.split(piece, finer);
    pieces = std::move(finer);
  }
  return pieces;
}

std::vector<std::string_view> Pretokenizer::names() {
  std::vector<std::string_view> result;
  for (const Entry& entry : table()) result.push_back(entry.name);
  return result;
}

}  // namespace steelyard::tokenizer
