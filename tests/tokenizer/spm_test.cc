// SentencePiece on small vocabularies, each rule against a plain re-statement of it.
#include "tokenizer/spm.h"

#include <random>

#include "small_model.h"
#include "support.h"
#include "tokenizer/tokenizer.h"

namespace steelyard::tokenizer {
namespace {

using Ids = std::vector<TokenId>;

constexpr TokenId kPiece = SmallSpm::kPiece;

TokenId byte(int b) { return SmallSpm::kByte + b; }

TEST(Spm, HighestScoreFirst) {
  SmallSpm model({{"a", 0}, {"b", 0}, {"c", 0}, {"ab", -2}, {"bc", -1}, {"abc", -9}});
  model.rest.set_boolean("tokenizer.ggml.add_space_prefix", false);
  // bc before ab, and then a with bc.
  EXPECT_EQ(Tokenizer(model.metadata()).encode("abc", false, false), (Ids{kPiece + 5}));
  EXPECT_EQ(Tokenizer(model.metadata()).encode("abab", false, false), (Ids{kPiece + 3, kPiece + 3}));
  model.scores[kPiece + 3] = -1;  // now they are equal: leftmost first
  EXPECT_EQ(Tokenizer(model.metadata()).encode("abbc", false, false), (Ids{kPiece + 3, kPiece + 4}));
  model.tokens[kPiece + 5] = "other";
  EXPECT_EQ(Tokenizer(model.metadata()).encode("abc", false, false), (Ids{kPiece + 3, kPiece + 2}));
}

// The pair must be a token; whether its halves are does not matter.
TEST(Spm, PairsOfWhatIsNoToken) {
  SmallSpm model({{"é中", 0}});
  model.rest.set_boolean("tokenizer.ggml.add_space_prefix", false);
  EXPECT_EQ(Tokenizer(model.metadata()).encode("é中", false, false), (Ids{kPiece}));
  EXPECT_EQ(Tokenizer(model.metadata()).encode("é", false, false), (Ids{byte(0xC3), byte(0xA9)}));
}

TEST(Spm, SpacePrefix) {
  SmallSpm model({{"a", 0}, {"\u2581", 0}, {"\u2581a", 0}});
  model.add("<|user|>", TokenType::kControl);
  const TokenId a = kPiece, space = kPiece + 1, space_a = kPiece + 2, user = kPiece + 3;
  const Tokenizer with(model.metadata());
  EXPECT_EQ(with.encode("a", false, false), (Ids{space_a}));
  EXPECT_EQ(with.encode(" a", false, false), (Ids{space, space_a}));
  EXPECT_EQ(with.encode("", false, false), (Ids{}));
  EXPECT_EQ(with.encode("a<|user|>a a", true, true), (Ids{1, space_a, user, space_a, space_a}));
  EXPECT_EQ(with.decode(Ids{space_a, space_a, a}), " a aa");
  model.rest.set_boolean("tokenizer.ggml.add_space_prefix", false);
  const Tokenizer without(model.metadata());
  EXPECT_EQ(without.encode("a<|user|>a a", false, true), (Ids{a, user, a, space_a}));
}

TEST(Spm, BosAndEosByDefault) {
  SmallSpm model;
  const Tokenizer tokenizer(model.metadata());
  EXPECT_EQ(tokenizer.bos(), 1);
  EXPECT_EQ(tokenizer.eos(), 2);
  EXPECT_TRUE(tokenizer.add_bos());
  EXPECT_FALSE(tokenizer.add_eos());
  EXPECT_TRUE(tokenizer.is_end_of_generation(2));
  EXPECT_EQ(tokenizer.encode("", true, false), (Ids{1}));
  model.rest.set_integer("tokenizer.ggml.bos_token_id", 5);
  model.rest.set_boolean("tokenizer.ggml.add_eos_token", true);
  EXPECT_EQ(Tokenizer(model.metadata()).encode("", true, false), (Ids{5, 2}));
}

TEST(Spm, BytesComeBack) {
  SmallSpm model;
  model.rest.set_boolean("tokenizer.ggml.add_space_prefix", false);
  const Tokenizer tokenizer(model.metadata());
  std::string all;
  for (int b = 0; b < 256; ++b) all += static_cast<char>(b);
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(all + "\xE2 \xF0", false, false)), [&] {
    std::string expected = all + "\xE2\xE2\x96\x81\xF0";  // a space that is not a token is spelled in bytes
    expected.replace(expected.find(' '), 1, "\u2581");
    return expected;
  }());
}

// The definition at its O(n^2): of all neighbours that are a token together take the best, leftmost, over the whole
// text. The tokens go over the end of a word in half of the rounds, which is where words must not be merged one by one.
TEST(Spm, MergesAsDefined) {
  std::mt19937 random(17);
  const std::vector<std::string> alphabet = {"a", "b", "é", "\u2581"};
  for (int round = 0; round < 100; ++round) {
    SmallSpm model;
    model.rest.set_boolean("tokenizer.ggml.add_space_prefix", false);
    for (int i = 0; i < 40; ++i) {
      std::string piece;
      const bool across = round % 2;
      for (int n = 1 + random() % 4; n > 0; --n) piece += alphabet[random() % (across || piece.empty() ? 4 : 3)];
      if (std::find(model.tokens.begin(), model.tokens.end(), piece) != model.tokens.end()) continue;
      model.add(piece, TokenType::kNormal, -static_cast<float>(random() % 10));
    }
    const Tokenizer tokenizer(model.metadata());
    const auto find = [&](const std::string& text) {
      const auto found = std::find(model.tokens.begin(), model.tokens.end(), text);
      return found == model.tokens.end() ? -1 : static_cast<TokenId>(found - model.tokens.begin());
    };
    for (int i = 0; i < 20; ++i) {
      std::vector<std::string> symbols;
      std::string text;
      for (int n = random() % 60; n > 0; --n) {
        symbols.push_back(alphabet[random() % 4]);
        text += symbols.back() == "\u2581" ? " " : symbols.back();
      }
      while (true) {
        int best = -1;
        for (size_t k = 0; k + 1 < symbols.size(); ++k) {
          const TokenId id = find(symbols[k] + symbols[k + 1]);
          if (id < 0) continue;
          if (best < 0 || model.scores[id] > model.scores[find(symbols[best] + symbols[best + 1])])
            best = static_cast<int>(k);
        }
        if (best < 0) break;
        symbols[best] += symbols[best + 1];
        symbols.erase(symbols.begin() + best + 1);
      }
      Ids expected;
      for (const std::string& symbol : symbols) {
        if (const TokenId id = find(symbol); id >= 0) {
          expected.push_back(id);
        } else {
          for (const char c : symbol) expected.push_back(byte(static_cast<uint8_t>(c)));
        }
      }
      EXPECT_EQ(tokenizer.encode(text, false, false), expected) << text;
    }
  }
}

// A text without any spaces, and one of spaces alone, are one word each: they must not take its square.
TEST(Spm, LongWords) {
  SmallSpm model({{"a", 0}, {"aa", -1}, {"aaaa", -2}, {"\u2581", 0}, {"\u2581\u2581", -1}});
  const Tokenizer tokenizer(model.metadata());
  EXPECT_EQ(tokenizer.encode(std::string(400'000, 'a'), false, false).size(), 100'001u);
  EXPECT_EQ(tokenizer.encode(std::string(399'999, ' '), false, false).size(), 200'000u);
}

}  // namespace
}  // namespace steelyard::tokenizer
