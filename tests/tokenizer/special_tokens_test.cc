// Division at special tokens: against the rule as it is written, and in time and memory that foreign tokens cannot make
// grow with a square.
#include "tokenizer/special_tokens.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <random>
#include <tuple>

#include "growth.h"
#include "small_model.h"

namespace steelyard::tokenizer {
namespace {

using Parts = std::vector<std::pair<std::string, TokenId>>;

// Of all matches the longest, then the one with the lowest id, then the leftmost; then of those that are left.
Parts divided_plainly(const Vocabulary& vocabulary, const std::string& text, bool parse_special) {
  std::vector<std::tuple<size_t, TokenId, size_t>> matches;  // minus length, id, begin
  for (TokenId id = 0; id < vocabulary.n_tokens(); ++id) {
    const std::string_view token = vocabulary.text(id);
    const bool wanted =
        vocabulary.type(id) == TokenType::kUserDefined || (parse_special && vocabulary.type(id) == TokenType::kControl);
    for (size_t at = text.find(token); wanted && at != std::string::npos; at = text.find(token, at + 1)) {
      matches.emplace_back(~token.size(), id, at);
    }
  }
  std::ranges::sort(matches);
  std::vector<TokenId> owner(text.size(), -1);
  std::vector<bool> starts(text.size());
  for (const auto& [length, id, begin] : matches) {
    const auto first = owner.begin() + static_cast<std::ptrdiff_t>(begin),
               last = first + static_cast<std::ptrdiff_t>(~length);
    if (std::any_of(first, last, [](TokenId taken) { return taken >= 0; })) continue;
    std::fill(first, last, id);
    starts[begin] = true;
  }
  Parts parts;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool begins = i == 0 || starts[i] || (owner[i] < 0) != (owner[i - 1] < 0);
    if (begins) parts.emplace_back("", owner[i]);
    parts.back().first += text[i];
  }
  return parts;
}

Parts divided(const SpecialTokens& tokens, const std::string& text, bool parse_special) {
  Parts parts;
  for (const Fragment& fragment : tokens.divide(text, parse_special)) parts.emplace_back(fragment.text, fragment.token);
  return parts;
}

TEST(SpecialTokens, AreFoundAsTheRuleSays) {
  std::mt19937 random(11);
  for (int round = 0; round < 400; ++round) {
    const size_t letters = 1 + random() % 3;
    const auto word = [&](size_t most) {
      std::string text(1 + random() % most, 'A');
      for (char& c : text) c = static_cast<char>('A' + random() % letters);
      return text;
    };
    SmallModel model;
    for (int i = 0; i < 12; ++i) {
      const std::string text = "A" + word(1 + random() % 12);
      if (std::ranges::find(model.tokens, text) != model.tokens.end()) continue;
      model.add(text, random() % 2 == 0 ? TokenType::kUserDefined : TokenType::kControl);
    }
    const Vocabulary vocabulary(model.metadata());
    const SpecialTokens tokens(vocabulary);
    for (int i = 0; i < 20; ++i) {
      const std::string text = word(60);
      for (const bool parse_special : {false, true}) {
        EXPECT_EQ(divided(tokens, text, parse_special), divided_plainly(vocabulary, text, parse_special)) << text;
      }
    }
  }
}

TEST(SpecialTokens, TextWithoutTokensIsOnePart) {
  const Vocabulary vocabulary(SmallModel({}, {{"<|x|>", TokenType::kControl}}).metadata());
  const SpecialTokens tokens(vocabulary);
  EXPECT_TRUE(tokens.divide("", true).empty());
  EXPECT_EQ(divided(tokens, "<|x|", true), (Parts{{"<|x|", -1}}));
  EXPECT_EQ(divided(tokens, "a<|x|>", false), (Parts{{"a<|x|>", -1}}));
}

// A vocabulary and the text that it is hard for.
struct Hard {
  explicit Hard(const std::vector<std::string>& texts, std::string text_) : text(std::move(text_)) {
    for (const std::string& token : texts) model.add(token, TokenType::kUserDefined);
    vocabulary = std::make_shared<Vocabulary>(model.metadata());
  }
  SmallModel model;
  std::shared_ptr<Vocabulary> vocabulary;
  std::string text;
};

double growth_of(size_t n, const std::function<Hard(size_t)>& make) {
  return test::growth(n, make, [](const Hard& hard) {
    const SpecialTokens tokens(*hard.vocabulary);
    size_t bytes = 0;
    for (const Fragment& fragment : tokens.divide(hard.text, false)) bytes += fragment.text.size();
    EXPECT_EQ(bytes, hard.text.size());
  });
}

TEST(SpecialTokens, OneLongTokenAndATextThatNearlyHasIt) {
  EXPECT_LT(growth_of(20000, [](size_t n) { return Hard({std::string(n, 'A')}, std::string(n - 1, 'A')); }),
            test::kAboutLinear);
  EXPECT_LT(growth_of(20000,
                      [](size_t n) {
                        return Hard({std::string(n, 'A') + "B" + std::string(n, 'A')},
                                    std::string(n, 'A') + "C" + std::string(n, 'A'));
                      }),
            test::kAboutLinear);
}

// The bytes of the tokens are the square of their number, and grow with the text.
TEST(SpecialTokens, TokensWithinTokens) {
  EXPECT_LT(growth_of(20000,
                      [](size_t n) {
                        std::vector<std::string> texts;
                        for (size_t bytes = 2; bytes <= n; bytes += texts.back().size()) {
                          texts.push_back(std::string(texts.size() + 2, 'A'));
                        }
                        return Hard(texts, std::string(n, 'A'));
                      }),
            test::kAboutLinear);
}

// Of every match a part is taken by another, so that shorter ones have their turn.
TEST(SpecialTokens, TokensThatBlockEachOther) {
  EXPECT_LT(growth_of(20000,
                      [](size_t n) {
                        std::vector<std::string> texts;
                        for (size_t length = 2; length < n / 4; length = length * 3 / 2 + 1) {
                          texts.push_back(std::string(length, 'A'));
                          texts.push_back("B" + std::string(length, 'A'));
                        }
                        std::string text;
                        while (text.size() < n) text += std::string(text.size() % 97 + 1, 'A') + "B";
                        return Hard(texts, text);
                      }),
            test::kAboutLinear);
}

TEST(SpecialTokens, EveryByteIsAToken) {
  EXPECT_LT(growth_of(20000, [](size_t n) { return Hard({"AA"}, std::string(n, 'A')); }), test::kAboutLinear);
}

}  // namespace
}  // namespace steelyard::tokenizer
