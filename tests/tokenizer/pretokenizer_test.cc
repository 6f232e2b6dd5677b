// Where pre-tokenizers split, beyond what the recorded ids show.
#include "tokenizer/pretokenizer.h"

#include <random>

#include "base/error.h"
#include "support.h"

namespace steelyard::tokenizer {
namespace {

using Pieces = std::vector<std::string_view>;

Pieces split(std::string_view name, std::string_view text) { return Pretokenizer(name, "").split(text); }

std::string join(const Pieces& pieces) {
  std::string text;
  for (const std::string_view piece : pieces) text += piece;
  return text;
}

TEST(Pretokenizer, KnownSplits) {
  EXPECT_EQ(split("gpt-2", "Hello  world, it's 2024"), (Pieces{"Hello", " ", " world", ",", " it", "'s", " 2024"}));
  EXPECT_EQ(split("llama-bpe", "Hi 12345\n\n x"), (Pieces{"Hi", " ", "123", "45", "\n\n", " x"}));
  EXPECT_EQ(split("qwen2", "a12 IT'S"), (Pieces{"a", "1", "2", " IT", "'S"}));
  EXPECT_EQ(split("gpt-4o", "camelCase's a/b"), (Pieces{"camel", "Case's", " a", "/b"}));
  EXPECT_EQ(split("kimi-k2", "a中文b"), (Pieces{"a", "中文", "b"}));
  EXPECT_EQ(split("smollm", "x12"), (Pieces{"x", "1", "2"}));
  EXPECT_EQ(split("deepseek-v3", "1234中あx"), (Pieces{"123", "4", "中あ", "x"}));
  EXPECT_EQ(split("tiny_aya", "ab 1234567!"), (Pieces{"ab", " ", "1", "234", "567", "!"}));
  EXPECT_EQ(split("jais-2", "a" + std::string(11, ' ') + "b"), (Pieces{"a", std::string(8, ' '), "  ", " b"}));
  EXPECT_EQ(split("gemma4", "a b\n\nc"), (Pieces{"a b", "\n\n", "c"}));
  EXPECT_TRUE(split("gpt-2", "").empty());
}

// A mark joins a word where the pre-tokenizer counts it as a letter, and ends the word elsewhere.
TEST(Pretokenizer, CombiningMarks) {
  EXPECT_EQ(split("qwen35", "e\u0301a"), (Pieces{"e\u0301a"}));
  EXPECT_EQ(split("qwen2", "e\u0301a"), (Pieces{"e", "\u0301a"}));
}

TEST(Pretokenizer, WhiteSpaceIsUnicode) {
  EXPECT_EQ(split("gpt-2", "a\u3000\u3000b"), (Pieces{"a", "\u3000", "\u3000", "b"}));
  EXPECT_EQ(split("gpt-2", "a\u180E\u180Eb"), (Pieces{"a", "\u180E\u180E", "b"}));  // no longer White_Space
}

TEST(Pretokenizer, ContractionsFoldAsciiOnly) {
  EXPECT_EQ(split("llama-bpe", "it'S"), (Pieces{"it", "'S"}));
  EXPECT_EQ(split("llama-bpe", "it'\u017F\u017F"), (Pieces{"it", "'\u017F\u017F"}));
}

TEST(Pretokenizer, EveryOneKeepsTheText) {
  const std::vector<std::string> alphabet = {
      " ", "\t",     "\n",     "\r",   "'", "s", "LL", "a", "Z",
      "é", "中",     "が",     "가",   "1", "٣", "!",  "~", "$",
      "—", "\u0301", "\u3000", "🙂", "ſ", "²", "豈", "Ж", std::string(1, '\0')};
  std::mt19937 random(1);
  for (const std::string_view name : Pretokenizer::names()) {
    const Pretokenizer pretokenizer(name, "");
    for (int i = 0; i < 200; ++i) {
      std::string text;
      for (int n = random() % 30; n > 0; --n) text += alphabet[random() % alphabet.size()];
      const Pieces pieces = pretokenizer.split(text);
      EXPECT_EQ(join(pieces), text) << name;
      for (const std::string_view piece : pieces) EXPECT_FALSE(piece.empty()) << name;
    }
  }
}

// Runs of a million must not hit a limit of the engine, and must not take quadratic time: that would be hours here.
TEST(Pretokenizer, LongRuns) {
  const size_t n = 1'000'000;
  const std::string spaces(n, ' ');
  std::string han;
  for (size_t i = 0; i < n / 3; ++i) han += "中";
  for (const char* name :
       {"default",        "gpt-2",       "llama-bpe", "gpt-4o",     "tekken",     "kimi-k2", "deepseek-llm",
        "deepseek-coder", "deepseek-v3", "qwen35",    "seed-coder", "bailingmoe", "falcon",  "exaone-moe",
        "laguna",         "minicpm5",    "spark2_5",  "ufakzeka",   "afmoe",      "bloom",   "gemma4",
        "jais-2",         "tiny_aya",    "viking",    "youtu"}) {
    for (const std::string& text :
         {spaces + "x", spaces + "5", std::string(n, 'a'), std::string(n, '!'), std::string(n, '5'), han}) {
      EXPECT_EQ(join(split(name, text)).size(), text.size()) << name;
    }
  }
}

TEST(Pretokenizer, UnknownNameListsTheKnown) {
  try {
    Pretokenizer("klingon", "model.gguf: tokenizer.ggml.pre");
    FAIL() << "accepted";
  } catch (const Error& error) {
    const std::string what = error.what();
    EXPECT_EQ(what.find("model.gguf: tokenizer.ggml.pre: unknown pre-tokenizer 'klingon'"), 0u) << what;
    for (const std::string_view name : Pretokenizer::names()) EXPECT_NE(what.find(name), std::string::npos) << name;
  }
}

}  // namespace
}  // namespace steelyard::tokenizer
