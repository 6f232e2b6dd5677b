// Behaviour of the whole tokenizer on small vocabularies, each rule against a plain re-statement of it.
#include "tokenizer/tokenizer.h"

#include <random>
#include <thread>

#include "base/error.h"
#include "gguf/reader.h"
#include "small_model.h"
#include "support.h"
#include "tokenizer/special_tokens.h"

namespace steelyard::tokenizer {
namespace {

using Ids = std::vector<TokenId>;

std::string random_text(std::mt19937& random, int max_characters) {
  std::string text;
  for (int n = random() % (max_characters + 1); n > 0; --n) {
    static const char* const kCommon[] = {" ", "\n", "a", "b", "the", "1", "'s", ".", "é", "中", "<", "|>"};
    if (random() % 4 != 0) {
      text += kCommon[random() % std::size(kCommon)];
      continue;
    }
    uint32_t c = random() % 0x110000;
    if (c >= 0xD800 && c < 0xE000) c = 0xFFFD;
    if (c < 0x80) {
      text += static_cast<char>(c);
    } else if (c < 0x800) {
      text += {static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 0x3F))};
    } else if (c < 0x10000) {
      text += {static_cast<char>(0xE0 | c >> 12), static_cast<char>(0x80 | (c >> 6 & 0x3F)),
               static_cast<char>(0x80 | (c & 0x3F))};
    } else {
      text += {static_cast<char>(0xF0 | c >> 18), static_cast<char>(0x80 | (c >> 12 & 0x3F)),
               static_cast<char>(0x80 | (c >> 6 & 0x3F)), static_cast<char>(0x80 | (c & 0x3F))};
    }
  }
  return text;
}

TEST(Tokenizer, RandomTextComesBack) {
  const gguf::Reader reader(test::golden("tokenizers/mini-gpt2-6k.gguf"), gguf::ReadMode::kHeader);
  std::mt19937 random(7);
  for (const char* pre : {"gpt-2", "llama-bpe", "deepseek-v3", "kimi-k2", "tekken", "deepseek-llm"}) {
    gguf::Metadata metadata = reader.metadata();
    metadata.set_string("tokenizer.ggml.pre", pre);
    const Tokenizer tokenizer(metadata);
    for (int i = 0; i < 300; ++i) {
      const std::string text = random_text(random, 60);
      EXPECT_EQ(tokenizer.decode(tokenizer.encode(text, false, i % 2 == 1), true), text);
    }
  }
}

// The definition, at its O(n^2): of all pairs that merge, take the earliest in the list, leftmost.
TEST(Tokenizer, MergesInOrderOfRank) {
  std::mt19937 random(3);
  for (int round = 0; round < 50; ++round) {
    Pairs pairs;
    std::vector<std::string> words = {"a", "b", "c"};
    for (int i = 0; i < 20; ++i) {
      const std::string left = words[random() % words.size()];
      const std::string right = words[random() % words.size()];
      if (std::find(words.begin(), words.end(), left + right) != words.end()) continue;
      pairs.emplace_back(left, right);
      words.push_back(left + right);
    }
    const Tokenizer tokenizer(SmallModel(pairs).metadata());
    for (int i = 0; i < 20; ++i) {
      std::vector<std::string> symbols;
      std::string text;
      for (int n = random() % 40; n > 0; --n) {
        symbols.emplace_back(1, "abc"[random() % 3]);
        text += symbols.back();
      }
      for (bool merged = true; merged;) {
        merged = false;
        for (const auto& [left, right] : pairs) {
          for (size_t k = 0; k + 1 < symbols.size() && !merged; ++k) {
            if (symbols[k] != left || symbols[k + 1] != right) continue;
            symbols[k] += right;
            symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(k) + 1);
            merged = true;
          }
          if (merged) break;
        }
      }
      std::vector<std::string> found;
      for (const TokenId id : tokenizer.encode(text, false, false)) found.emplace_back(tokenizer.text(id));
      EXPECT_EQ(found, symbols) << text;
    }
  }
}

TEST(Tokenizer, FirstOfTwoEqualMergesCounts) {
  SmallModel model(Pairs{{"a", "b"}, {"b", "c"}});
  model.merges.push_back("a b");
  EXPECT_EQ(Tokenizer(model.metadata()).encode("abc", false, false), (Ids{256, 'c'}));
}

TEST(Tokenizer, IgnoreMergesTakesWholePieces) {
  SmallModel model;
  model.add("hello", TokenType::kNormal);  // no merge leads to it
  model.rest.set_boolean("tokenizer.ggml.add_bos_token", false);
  EXPECT_EQ(Tokenizer(model.metadata()).encode("hello", false, false).size(), 5u);
  model.rest.set_string("tokenizer.ggml.pre", "llama-bpe");
  EXPECT_EQ(Tokenizer(model.metadata()).encode("hello", false, false), (Ids{256}));
}

TEST(Tokenizer, BytesWithoutTokenAreLeftOut) {
  SmallModel model;
  model.tokens['b'] = "other";
  EXPECT_EQ(Tokenizer(model.metadata()).encode("abc", false, false), (Ids{'a', 'c'}));
}

TEST(Tokenizer, MarkedTokens) {
  const SmallModel model({}, {{"<|user|>", TokenType::kControl},
                              {"<unk>", TokenType::kUnknown},
                              {"  ", TokenType::kUserDefined},
                              {"<pad>", TokenType::kUnused}});
  const Tokenizer tokenizer(model.metadata());
  EXPECT_EQ(tokenizer.encode("<|user|>", false, true), (Ids{256}));
  EXPECT_EQ(tokenizer.encode("<|user|>", false, false).size(), 8u);
  EXPECT_EQ(tokenizer.encode("<unk>", false, true), (Ids{257}));
  EXPECT_EQ(tokenizer.encode("a   b", false, false), (Ids{'a', 258, ' ', 'b'}));
  EXPECT_EQ(tokenizer.encode("<pad>", false, true).size(), 5u);
  const Ids ids = {'h', 256, 'i', 257, 258, 259};
  EXPECT_EQ(tokenizer.decode(ids), "hi  ");
  EXPECT_EQ(tokenizer.decode(ids, true), "h<|user|>i<unk>  ");
}

// The rule stated plainly: token by token, longest first, each taken from the left out of the text still free.
TEST(SpecialTokens, LongestFirst) {
  std::mt19937 random(11);
  for (int round = 0; round < 300; ++round) {
    SmallModel model;
    for (int i = 0; i < 6; ++i) {
      std::string mark;
      for (int n = 2 + random() % 4; n > 0; --n) mark += "<|a>"[random() % 4];
      if (std::find(model.tokens.begin(), model.tokens.end(), mark) == model.tokens.end()) {
        model.add(mark, i % 2 ? TokenType::kControl : TokenType::kUserDefined);
      }
    }
    std::string text;
    for (int n = random() % 30; n > 0; --n) text += "<|a>"[random() % 4];
    const bool parse_special = random() % 2;

    std::vector<TokenId> order;
    for (TokenId id = 256; id < static_cast<TokenId>(model.tokens.size()); ++id) {
      if (parse_special || model.types[id] == static_cast<int>(TokenType::kUserDefined)) order.push_back(id);
    }
    std::stable_sort(order.begin(), order.end(),
                     [&](TokenId a, TokenId b) { return model.tokens[a].size() > model.tokens[b].size(); });
    std::vector<TokenId> owner(text.size(), -1);
    std::vector<TokenId> starts(text.size(), -1);
    for (const TokenId id : order) {
      const size_t n = model.tokens[id].size();
      for (size_t at = text.find(model.tokens[id]); at != std::string::npos; at = text.find(model.tokens[id], at + 1)) {
        if (std::any_of(&owner[at], &owner[at] + n, [](TokenId o) { return o >= 0; })) continue;
        std::fill_n(&owner[at], n, id);
        starts[at] = id;
      }
    }

    const Vocabulary vocabulary(model.metadata());
    size_t at = 0;
    for (const Fragment& fragment : SpecialTokens(vocabulary).divide(text, parse_special)) {
      ASSERT_EQ(fragment.text.data(), text.data() + at);
      ASSERT_FALSE(fragment.text.empty());
      EXPECT_EQ(fragment.token, starts[at]) << text;
      for (size_t i = 0; i < fragment.text.size(); ++i) EXPECT_EQ(owner[at + i], fragment.token) << text;
      at += fragment.text.size();
    }
    EXPECT_EQ(at, text.size());
  }
}

TEST(Tokenizer, BosAndEos) {
  SmallModel model({}, {{"<s>", TokenType::kControl}, {"<stop>", TokenType::kControl}});
  {
    const Tokenizer none(model.metadata());
    EXPECT_EQ(none.bos(), std::nullopt);
    EXPECT_EQ(none.eos(), std::nullopt);
    EXPECT_FALSE(none.add_bos() || none.add_eos());
    EXPECT_EQ(none.encode("a", true, true), (Ids{'a'}));
  }
  model.rest.set_integer("tokenizer.ggml.bos_token_id", 256);
  model.rest.set_integer("tokenizer.ggml.eos_token_id", 257);
  EXPECT_EQ(Tokenizer(model.metadata()).encode("a", true, true), (Ids{'a'}));
  model.rest.set_boolean("tokenizer.ggml.add_bos_token", true);
  model.rest.set_boolean("tokenizer.ggml.add_eos_token", true);
  const Tokenizer both(model.metadata());
  EXPECT_EQ(both.encode("a", true, false), (Ids{256, 'a', 257}));
  EXPECT_EQ(both.encode("", true, false), (Ids{256, 257}));
  EXPECT_EQ(both.encode("a", false, false), (Ids{'a'}));
  model.rest.erase("tokenizer.ggml.add_bos_token");
  model.rest.set_string("tokenizer.ggml.pre", "tekken");
  EXPECT_TRUE(Tokenizer(model.metadata()).add_bos());
}

TEST(Tokenizer, EndOfGeneration) {
  SmallModel model({}, {{"<stop>", TokenType::kControl},
                        {"<turn>", TokenType::kControl},
                        {"<|im_end|>", TokenType::kNormal},
                        {"<|user|>", TokenType::kControl},
                        {"<|end|>", TokenType::kControl}});
  model.rest.set_integer("tokenizer.ggml.eos_token_id", 256);
  model.rest.set_integer("tokenizer.ggml.eot_token_id", 257);
  const auto ends = [](const Tokenizer& tokenizer) {
    Ids ids;
    for (TokenId id = -1; id <= tokenizer.n_tokens(); ++id) {
      if (tokenizer.is_end_of_generation(id)) ids.push_back(id);
    }
    return ids;
  };
  EXPECT_EQ(ends(Tokenizer(model.metadata())), (Ids{256, 257, 258, 260}));
  EXPECT_EQ(Tokenizer(model.metadata()).decode(Ids{258}), "");  // control by its name
  model.add("<|return|>", TokenType::kControl);
  model.add("<|call|>", TokenType::kControl);
  EXPECT_EQ(ends(Tokenizer(model.metadata())), (Ids{256, 257, 258, 261, 262}));
}

TEST(Tokenizer, TextOutsideTheAlphabetIsItself) {
  SmallModel model;
  model.add("plain space", TokenType::kNormal);
  const Tokenizer tokenizer(model.metadata());
  EXPECT_EQ(tokenizer.decode(Ids{256}), "plain space");
  EXPECT_EQ(tokenizer.text(256), "plain space");
}

TEST(Tokenizer, InvalidIds) {
  const Tokenizer tokenizer(SmallModel().metadata());
  EXPECT_THROW(tokenizer.decode(Ids{256}), Error);
  EXPECT_THROW(tokenizer.decode(Ids{-1}), Error);
  EXPECT_THROW(tokenizer.text(256), Error);
  EXPECT_EQ(tokenizer.decode(Ids{}), "");
}

TEST(Tokenizer, OutlivesMetadataAndMoves) {
  auto metadata = std::make_unique<gguf::Metadata>(SmallModel(Pairs{{"a", "b"}}).metadata());
  Tokenizer first(*metadata);
  metadata.reset();
  Tokenizer second = std::move(first);
  EXPECT_EQ(second.encode("ab", false, false), (Ids{256}));
}

TEST(Tokenizer, ManyThreadsOneObject) {
  const gguf::Reader reader(test::golden("tokenizers/mini-gpt2-6k.gguf"), gguf::ReadMode::kHeader);
  const Tokenizer tokenizer(reader.metadata());
  std::mt19937 random(5);
  const std::string text = random_text(random, 5000);
  const Ids expected = tokenizer.encode(text, true, true);
  std::vector<Ids> results(8);
  std::vector<std::thread> threads;
  for (Ids& result : results) threads.emplace_back([&] { result = tokenizer.encode(text, true, true); });
  for (std::thread& thread : threads) thread.join();
  for (const Ids& result : results) EXPECT_EQ(result, expected);
}

}  // namespace
}  // namespace steelyard::tokenizer
