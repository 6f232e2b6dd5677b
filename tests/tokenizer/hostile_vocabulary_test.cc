// Vocabularies that are made to be slow: each piece of text passes through as many tokens as there are bytes for. The
// time grows with the bytes of vocabulary and text together.
#include <gtest/gtest.h>

#include <cmath>

#include "growth.h"
#include "small_model.h"
#include "tokenizer/tokenizer.h"

namespace steelyard::tokenizer {
namespace {

// Words of A whose bytes are n together, every length from 2 on.
std::vector<std::string> nested(size_t n) {
  std::vector<std::string> words;
  for (size_t bytes = 2; bytes <= n; bytes += words.back().size()) words.push_back(std::string(words.size() + 2, 'A'));
  return words;
}

struct Input {
  gguf::Metadata metadata;
  std::string text;
};

void encode(const Input& input) {
  const Tokenizer tokenizer(input.metadata);
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(input.text, false, false)), input.text);
}

// The scores rise with the length, or fall: symbols grow by one character at a time, or by halves.
TEST(HostileVocabulary, SentencePiece) {
  for (const float sign : {1.0f, -1.0f}) {
    const double ratio = test::growth(
        10000,
        [&](size_t n) {
          std::vector<std::pair<std::string, float>> pieces;
          for (const std::string& word : nested(n)) pieces.emplace_back(word, sign * static_cast<float>(word.size()));
          SmallSpm model(pieces);
          model.rest.set_boolean("tokenizer.ggml.add_space_prefix", false);
          return Input{model.metadata(), std::string(n, 'A')};
        },
        encode);
    EXPECT_LT(ratio, test::kAboutLinear) << sign;
  }
}

TEST(HostileVocabulary, MergesOneByOne) {
  const double ratio = test::growth(
      10000,
      [](size_t n) {
        Pairs pairs;
        for (const std::string& word : nested(n)) pairs.emplace_back(word.substr(1), "A");
        return Input{SmallModel(pairs).metadata(), std::string(n, 'A')};
      },
      encode);
  EXPECT_LT(ratio, test::kAboutLinear);
}

TEST(HostileVocabulary, ManyMergesOfOneToken) {
  const double ratio = test::growth(
      10000,
      [](size_t n) {
        Pairs pairs;
        std::string text;
        for (size_t i = 0; i < n / 16; ++i) {
          pairs.emplace_back("A", fmt::format("{:x}", i));
          text += "A" + pairs.back().second;
        }
        SmallModel model(pairs);
        for (size_t i = 16; i < n / 16; ++i) model.add(fmt::format("{:x}", i), TokenType::kNormal);
        return Input{model.metadata(), text};
      },
      encode);
  EXPECT_LT(ratio, test::kAboutLinear);
}

}  // namespace
}  // namespace steelyard::tokenizer
