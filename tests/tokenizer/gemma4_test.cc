// BPE over the characters of a vocabulary that is spelled like one of SentencePiece, and the names that go with it.
#include <random>

#include "base/error.h"
#include "small_model.h"
#include "support.h"
#include "tokenizer/tokenizer.h"

namespace steelyard::tokenizer {
namespace {

using Ids = std::vector<TokenId>;

// The 256 bytes as tokens 0-255, then <bos> and <eos>, then characters and what merges to.
struct SmallGemma4 {
  std::vector<std::string> tokens;
  std::vector<int32_t> types;
  std::vector<std::string> merges;
  gguf::Metadata rest{"small.gguf"};
  static constexpr TokenId kBos = 256, kEos = 257, kFirst = 258;

  explicit SmallGemma4(const std::vector<std::string>& characters, const Pairs& pairs = {}) {
    for (int b = 0; b < 256; ++b) add(fmt::format("<0x{:02X}>", b), TokenType::kByte);
    add("<bos>", TokenType::kControl);
    add("<eos>", TokenType::kControl);
    for (const std::string& character : characters) add(character, TokenType::kNormal);
    for (const auto& [left, right] : pairs) {
      add(left + right, TokenType::kNormal);
      merges.push_back(left + " " + right);
    }
    rest.set_string("tokenizer.ggml.model", "gemma4");
    rest.set_integer("tokenizer.ggml.bos_token_id", kBos);
    rest.set_integer("tokenizer.ggml.eos_token_id", kEos);
  }

  void add(const std::string& text, TokenType type) {
    tokens.push_back(text);
    types.push_back(static_cast<int32_t>(type));
  }

  Tokenizer tokenizer() const {
    gguf::Metadata all = rest;
    all.set_strings("tokenizer.ggml.tokens", tokens);
    all.set_strings("tokenizer.ggml.merges", merges);
    set_int32s(all, "tokenizer.ggml.token_type", types);
    return Tokenizer(all);
  }
};

constexpr TokenId kFirst = SmallGemma4::kFirst;

TEST(Gemma4, MergesCharactersAndFallsBackToBytes) {
  const SmallGemma4 model({"a", "b", "\u2581", "é"}, {{"\u2581", "a"}, {"a", "b"}, {"é", "é"}});
  const Tokenizer tokenizer = model.tokenizer();
  // The earlier merge takes the a from the later.
  EXPECT_EQ(tokenizer.encode(" ab", false, false), (Ids{kFirst + 4, kFirst + 1}));
  EXPECT_EQ(tokenizer.encode("abéé", false, false), (Ids{kFirst + 5, kFirst + 6}));
  EXPECT_EQ(tokenizer.encode("中", false, false), (Ids{0xE4, 0xB8, 0xAD}));
  EXPECT_EQ(tokenizer.encode("\xFF", false, false), (Ids{0xEF, 0xBF, 0xBD}));  // U+FFFD
  EXPECT_EQ(tokenizer.decode(Ids{kFirst + 4, 0xE4, 0xB8, 0xAD}), " a中");
}

// A merge within reach of the next word must not be missed where words are merged one by one.
TEST(Gemma4, MergesAcrossWords) {
  const SmallGemma4 model({"a", "b", "\u2581"}, {{"\u2581", "b"}, {"a", "\u2581b"}, {"\u2581", "\u2581"}});
  EXPECT_EQ(model.tokenizer().encode("a b", false, false), (Ids{kFirst + 4}));
  EXPECT_EQ(model.tokenizer().encode("b b", false, false), (Ids{kFirst + 1, kFirst + 3}));
  EXPECT_EQ(model.tokenizer().encode("b  b", false, false), (Ids{kFirst + 1, kFirst + 2, kFirst + 3}));
}

TEST(Gemma4, LineEndsAreOneTokenWhereThereIsOne) {
  SmallGemma4 model({"a", "\n", "\n\n\n"});
  EXPECT_EQ(model.tokenizer().encode("a\n\n\na\n\n", false, false),
            (Ids{kFirst, kFirst + 2, kFirst, kFirst + 1, kFirst + 1}));
  model.rest.set_string("tokenizer.ggml.model", "gpt2");
  model.rest.set_string("tokenizer.ggml.pre", "sarvam-moe");
  EXPECT_EQ(model.tokenizer().encode("\n\n\n", false, false), (Ids{kFirst + 1, kFirst + 1, kFirst + 1}));
}

// Its files say false, which is wrong.
TEST(Gemma4, BosWhateverTheFileSays) {
  SmallGemma4 model({"a"});
  EXPECT_EQ(model.tokenizer().encode("a", true, false), (Ids{SmallGemma4::kBos, kFirst}));
  model.rest.set_boolean("tokenizer.ggml.add_bos_token", false);
  EXPECT_EQ(model.tokenizer().encode("a", true, false), (Ids{SmallGemma4::kBos, kFirst}));
  model.rest.set_string("tokenizer.ggml.model", "gpt2");
  model.rest.set_string("tokenizer.ggml.pre", "sarvam-moe");
  EXPECT_EQ(model.tokenizer().encode("a", true, false), (Ids{kFirst}));
}

TEST(Gemma4, TokensByName) {
  SmallGemma4 model({"</s>", "<turn|>", "<|tool_response>"});
  const Tokenizer tokenizer = model.tokenizer();
  EXPECT_FALSE(tokenizer.is_end_of_generation(kFirst));  // an HTML tag here
  EXPECT_TRUE(tokenizer.is_end_of_generation(kFirst + 1));
  EXPECT_TRUE(tokenizer.is_end_of_generation(kFirst + 2));
  EXPECT_EQ(tokenizer.decode(Ids{kFirst, kFirst + 1}), "</s>");
  model.tokens[kFirst + 2] = "other";
  EXPECT_TRUE(model.tokenizer().is_end_of_generation(kFirst));
}

// A name means what a key could say, so it counts only where there is no key.
TEST(Gemma4, FillTokensByName) {
  SmallGemma4 model({"[PAD]", "<fim_prefix>", "a"});
  EXPECT_TRUE(model.tokenizer().is_end_of_generation(kFirst));
  EXPECT_FALSE(model.tokenizer().is_end_of_generation(kFirst + 1));
  EXPECT_EQ(model.tokenizer().encode("<fim_prefix>", false, true), (Ids{kFirst + 1}));
  model.rest.set_integer("tokenizer.ggml.fim_pad_token_id", kFirst + 2);
  EXPECT_FALSE(model.tokenizer().is_end_of_generation(kFirst));
  EXPECT_TRUE(model.tokenizer().is_end_of_generation(kFirst + 2));
}

TEST(Gemma4, ByteTokensAreChecked) {
  SmallGemma4 model({"a"});
  model.tokens['a'] = "<0xag>";
  try {
    model.tokenizer();
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("tokenizer.ggml.tokens: token 97 is a byte"), std::string::npos);
  }
  model.types['a'] = static_cast<int32_t>(TokenType::kNormal);  // a byte without a token is left out
  model.tokens[kFirst] = "b";
  EXPECT_EQ(model.tokenizer().encode("ab", false, false), (Ids{kFirst}));
}

// A text of one long line, and one of a long word, must not take the square of its length.
TEST(Gemma4, LongLines) {
  const SmallGemma4 model({"a", "\u2581"}, {{"a", "a"}, {"aa", "aa"}, {"\u2581", "\u2581"}});
  const Tokenizer tokenizer = model.tokenizer();
  EXPECT_EQ(tokenizer.encode(std::string(400'000, 'a'), false, false).size(), 100'000u);
  EXPECT_EQ(tokenizer.encode(std::string(400'000, ' '), false, false).size(), 200'000u);
  std::string words;
  for (int i = 0; i < 100'000; ++i) words += "aa ";
  EXPECT_EQ(tokenizer.encode(words, false, false).size(), 200'000u);
}

}  // namespace
}  // namespace steelyard::tokenizer
