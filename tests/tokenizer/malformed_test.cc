// Metadata that is wrong: every fault is one Error that names the key, and no mutation does worse than that.
#include <cmath>
#include <random>

#include "base/error.h"
#include "gguf/reader.h"
#include "small_model.h"
#include "support.h"
#include "tokenizer/tokenizer.h"

namespace steelyard::tokenizer {
namespace {

// The message must hold all of `parts`.
void expect_error(const gguf::Metadata& metadata, const std::vector<std::string>& parts) {
  try {
    const Tokenizer tokenizer(metadata);
    ADD_FAILURE() << "accepted; expected an error with " << parts.front();
  } catch (const Error& error) {
    const std::string what = error.what();
    EXPECT_EQ(what.find('\n'), std::string::npos) << what;
    for (const std::string& part : parts) EXPECT_NE(what.find(part), std::string::npos) << what << "\nlacks " << part;
  }
}

const std::string kFile = "small.gguf";

TEST(Malformed, Model) {
  SmallModel model;
  model.rest.set_string("tokenizer.ggml.model", "llama\x01");
  expect_error(model.metadata(),
               {kFile, "tokenizer.ggml.model", "unknown tokenizer 'llama\\x01'; known are gpt2, llama"});
  model.rest.erase("tokenizer.ggml.model");
  expect_error(model.metadata(), {kFile, "tokenizer.ggml.model"});
  model.rest.set_integer("tokenizer.ggml.model", 3);
  expect_error(model.metadata(), {kFile, "tokenizer.ggml.model"});
}

TEST(Malformed, Pretokenizer) {
  SmallModel model;
  model.rest.set_string("tokenizer.ggml.pre", "nothing");
  expect_error(model.metadata(), {kFile, "tokenizer.ggml.pre", "unknown pre-tokenizer 'nothing'", "llama-bpe"});
  model.rest.erase("tokenizer.ggml.pre");
  EXPECT_EQ(Tokenizer(model.metadata()).encode("a", false, false).size(), 1u);  // "default"
}

TEST(Malformed, Tokens) {
  SmallModel model;
  gguf::Metadata metadata = model.metadata();
  metadata.erase("tokenizer.ggml.tokens");
  expect_error(metadata, {kFile, "tokenizer.ggml.tokens"});
  set_int32s(metadata, "tokenizer.ggml.tokens", {1, 2});
  expect_error(metadata, {kFile, "tokenizer.ggml.tokens"});
  metadata.set_strings("tokenizer.ggml.tokens", {});
  expect_error(metadata, {kFile, "tokenizer.ggml.tokens", "found 0 tokens"});
  model.add("", TokenType::kUnused);  // padding, any number of times
  model.add("", TokenType::kUnused);
  EXPECT_EQ(Tokenizer(model.metadata()).n_tokens(), 258);
}

// Some files list a text more than once: every id decodes, the first one encodes.
TEST(Malformed, RepeatedTokens) {
  SmallModel bpe(Pairs{{"a", "b"}});
  bpe.add("a", TokenType::kNormal);
  bpe.add("ab", TokenType::kNormal);
  bpe.add("ab", TokenType::kUnused);
  const Tokenizer of_bpe(bpe.metadata());
  EXPECT_EQ(of_bpe.encode("aba", false, false), (std::vector<TokenId>{256, 'a'}));
  EXPECT_EQ(of_bpe.decode(std::vector<TokenId>{257, 258, 256}), "aabab");

  SmallSpm spm({{"a", -1}, {"b", -2}, {"ab", -3}});
  spm.add("a", TokenType::kNormal, -1);
  spm.add("ab", TokenType::kNormal, -3);
  spm.add("<0x61>", TokenType::kByte);
  spm.rest.set_boolean("tokenizer.ggml.add_space_prefix", false);
  const Tokenizer of_spm(spm.metadata());
  EXPECT_EQ(of_spm.encode("aba", false, false), (std::vector<TokenId>{261, 259}));
  EXPECT_EQ(of_spm.decode(std::vector<TokenId>{262, 263, 264}), "aaba");
}

TEST(Malformed, RepeatedMarkedTokens) {
  SmallModel model({}, {{"<u>", TokenType::kControl},
                        {"<u>", TokenType::kUserDefined},
                        {"<u>", TokenType::kUserDefined},
                        {"<c>", TokenType::kControl},
                        {"<c>", TokenType::kControl},
                        {"<|im_end|>", TokenType::kNormal},
                        {"<|im_end|>", TokenType::kNormal}});
  const Tokenizer tokenizer(model.metadata());
  for (const bool parse_special : {false, true})
    EXPECT_EQ(tokenizer.encode("<u>", false, parse_special), (std::vector<TokenId>{257}));
  EXPECT_EQ(tokenizer.encode("<c>", false, true), (std::vector<TokenId>{259}));
  EXPECT_EQ(tokenizer.encode("<c>", false, false).size(), 3u);
  for (const TokenId end : {261, 262}) {
    EXPECT_TRUE(tokenizer.is_end_of_generation(end));
    EXPECT_EQ(tokenizer.decode(std::vector<TokenId>{end}), "");
  }
}

TEST(Malformed, TokenTypes) {
  SmallModel model;
  model.types.pop_back();
  expect_error(model.metadata(), {kFile, "tokenizer.ggml.token_type", "found 255 types for 256 tokens"});
  model.types.push_back(7);
  expect_error(model.metadata(), {kFile, "tokenizer.ggml.token_type", "token 255 has type 7"});
  model.types.back() = -1;
  expect_error(model.metadata(), {kFile, "tokenizer.ggml.token_type", "token 255 has type -1"});
  gguf::Metadata metadata = model.metadata();
  metadata.set_strings("tokenizer.ggml.token_type", model.tokens);
  expect_error(metadata, {kFile, "tokenizer.ggml.token_type"});
  metadata.erase("tokenizer.ggml.token_type");
  EXPECT_EQ(Tokenizer(metadata).decode(std::vector<TokenId>{'a'}), "a");  // all normal
}

TEST(Malformed, Merges) {
  SmallModel model(Pairs{{"a", "b"}});
  gguf::Metadata metadata = model.metadata();
  metadata.erase("tokenizer.ggml.merges");
  expect_error(metadata, {kFile, "tokenizer.ggml.merges"});
  set_int32s(metadata, "tokenizer.ggml.merges", {1});
  expect_error(metadata, {kFile, "tokenizer.ggml.merges"});
  for (const char* merge : {"", " ", "ab", "a ", " a"}) {
    model.merges[0] = merge;
    expect_error(model.metadata(), {kFile, "tokenizer.ggml.merges", "merge 0 is '", "expected two words"});
  }
  model.merges[0] = "a zz";
  expect_error(model.metadata(), {kFile, "tokenizer.ggml.merges", "merge 0 is 'a zz'", "no token 'zz'"});
  model.merges[0] = "zz a";
  expect_error(model.metadata(), {"no token 'zz'"});
  model.merges[0] = "b a";
  expect_error(model.metadata(), {"no token 'ba'"});
  model.merges[0] = "a b c";
  expect_error(model.metadata(), {"no token 'b c'"});
}

TEST(Malformed, SpecialIds) {
  for (const char* name : {"bos", "eos", "eot", "eom", "fim_pad", "fim_rep", "fim_sep"}) {
    const std::string key = std::string("tokenizer.ggml.") + name + "_token_id";
    const auto number = [&](gguf::ValueType type, const auto& value) {
      return gguf::KeyValue{key, type, std::string(reinterpret_cast<const char*>(&value), sizeof(value))};
    };
    for (const gguf::KeyValue& none :
         {number(gguf::ValueType::kUint32, uint32_t{4096}), number(gguf::ValueType::kUint32, 0xFFFFFFFFu),
          number(gguf::ValueType::kInt32, int32_t{-1}), number(gguf::ValueType::kUint64, ~uint64_t{0})}) {
      SmallModel model;  // its kind has no defaults
      model.rest.set(none);
      for (const char* add : {"bos", "eos"}) {
        if (std::string(add) == name) model.rest.set_boolean(std::string("tokenizer.ggml.add_") + add + "_token", true);
      }
      const Tokenizer tokenizer(model.metadata());
      EXPECT_FALSE(tokenizer.bos() || tokenizer.eos() || tokenizer.add_bos() || tokenizer.add_eos());
      EXPECT_EQ(tokenizer.encode("a", true, true), (std::vector<TokenId>{'a'}));

      SmallSpm spm;
      spm.rest.set(none);
      EXPECT_EQ(Tokenizer(spm.metadata()).bos(), 1);
      EXPECT_EQ(Tokenizer(spm.metadata()).eos(), 2);
    }
    SmallModel model;
    model.rest.set_string(key, "x");
    expect_error(model.metadata(), {kFile, key});
  }
  SmallModel model;
  model.rest.set_boolean("tokenizer.ggml.add_bos_token", true);
  expect_error(model.metadata(), {kFile, "tokenizer.ggml.bos_token_id", "not set"});
  model.rest.set_boolean("tokenizer.ggml.add_bos_token", false);
  model.rest.set_boolean("tokenizer.ggml.add_eos_token", true);
  expect_error(model.metadata(), {kFile, "tokenizer.ggml.eos_token_id", "not set"});
}

TEST(Malformed, Scores) {
  SmallSpm model({{"a", 0}});
  gguf::Metadata metadata = model.metadata();
  metadata.erase("tokenizer.ggml.scores");
  expect_error(metadata, {kFile, "tokenizer.ggml.scores"});
  metadata.set_strings("tokenizer.ggml.scores", model.tokens);
  expect_error(metadata, {kFile, "tokenizer.ggml.scores"});
  model.scores.pop_back();
  expect_error(model.metadata(), {kFile, "tokenizer.ggml.scores", "found 259 scores for 260 tokens"});
  model.scores.push_back(std::nanf(""));
  expect_error(model.metadata(), {kFile, "tokenizer.ggml.scores", "score of token 259 is not a number"});
  model.scores.back() = -INFINITY;
  EXPECT_EQ(Tokenizer(model.metadata()).encode("a", false, false).size(), 4u);  // the space is three bytes here
}

TEST(Malformed, ByteTokens) {
  SmallSpm model;
  model.tokens[3 + 'a'] = "other";
  expect_error(model.metadata(), {kFile, "tokenizer.ggml.tokens", "no token '<0x61>'"});
  model.types[3 + 'a'] = static_cast<int>(TokenType::kNormal);
  expect_error(model.metadata(), {kFile, "tokenizer.ggml.tokens", "no token '<0x61>'"});
  model.tokens[3 + 'a'] = "a";  // the byte itself will do
  EXPECT_EQ(Tokenizer(model.metadata()).encode("a", false, false).back(), 3 + 'a');
  for (const char* name : {"<0x>", "<0xGG>", "<0x1>", "<0x001>", "0x41", "<0x-1>", "<0x+1>"}) {
    SmallSpm spelled;
    spelled.add(name, TokenType::kByte);
    expect_error(spelled.metadata(), {kFile, "tokenizer.ggml.tokens", "token 259 is a byte", name});
  }
}

// What became of mutated models: each tokenizes anything, or is refused by naming a key.
class Outcome {
 public:
  // The text is of random bytes and of `parts`.
  void add(const gguf::Metadata& model, std::mt19937& random, const std::vector<std::string>& parts) {
    try {
      const Tokenizer tokenizer(model);
      ++accepted_;
      std::string text;
      for (int n = random() % 60; n > 0; --n) {
        text += random() % 3 ? parts[random() % parts.size()] : std::string(1, static_cast<char>(random()));
      }
      for (const bool parse_special : {false, true}) {
        const std::vector<TokenId> ids = tokenizer.encode(text, true, parse_special);
        for (const TokenId id : ids) EXPECT_TRUE(id >= 0 && id < tokenizer.n_tokens());
        tokenizer.decode(ids, true);
      }
    } catch (const Error& error) {
      ++refused_;
      EXPECT_NE(std::string(error.what()).find("tokenizer.ggml."), std::string::npos) << error.what();
    }
  }

  void expect_both() const {
    EXPECT_GT(accepted_, 200);
    EXPECT_GT(refused_, 200);
  }

 private:
  int accepted_ = 0, refused_ = 0;
};

TEST(Malformed, SpmMutationsNeverDoWorseThanAnError) {
  std::mt19937 random(43);
  Outcome outcome;
  for (int round = 0; round < 1500; ++round) {
    SmallSpm model({{"a", -1}, {"b", -2}, {"\u2581", -3}, {"ab", -4}, {"\u2581a", -5}, {"\u2581\u2581", -5}});
    model.add("<|user|>", TokenType::kControl);
    model.rest.set_boolean("tokenizer.ggml.add_space_prefix", random() % 2);
    const auto mutate = [&](std::string& text) {
      if (!text.empty() && random() % 2) text.erase(random() % text.size(), 1);
      if (random() % 2) text.insert(random() % (text.size() + 1), 1, static_cast<char>(random()));
    };
    switch (random() % 5) {
      case 0:
        mutate(model.tokens[random() % model.tokens.size()]);
        break;
      case 1:
        for (int i = 0; i < 4; ++i) mutate(model.tokens[259 + random() % 7]);
        break;
      case 2:
        model.types[random() % model.types.size()] = static_cast<int32_t>(random() % 9) - 1;
        break;
      case 3: {
        const auto bits = static_cast<uint32_t>(random());
        std::memcpy(&model.scores[random() % model.scores.size()], &bits, sizeof(bits));
        break;
      }
      case 4:
        model.scores.resize(random() % 300);
        break;
    }
    outcome.add(model.metadata(), random, {"a", "b", " ", " a", "中", "\u2581", "<|user|>", "\n"});
  }
  outcome.expect_both();
}

TEST(Malformed, MutationsNeverDoWorseThanAnError) {
  std::mt19937 random(42);
  const std::vector<std::string_view> pres = {"gpt-2", "llama-bpe", "kimi-k2", "deepseek-llm", "gpt-4o"};
  Outcome outcome;
  for (int round = 0; round < 1500; ++round) {
    SmallModel model(Pairs{{"a", "b"}, {"ab", "c"}, {" ", "a"}, {"\xE4", "\xB8"}},
                     {{"<|user|>", TokenType::kControl}, {"<u>", TokenType::kUserDefined}});
    model.rest.set_string("tokenizer.ggml.pre", pres[random() % pres.size()]);
    model.rest.set_integer("tokenizer.ggml.bos_token_id", 260);
    const auto mutate = [&](std::string& text) {
      if (!text.empty() && random() % 2) text.erase(random() % text.size(), 1);
      if (random() % 2) text.insert(random() % (text.size() + 1), 1, static_cast<char>(random()));
    };
    for (int n = 1 + random() % 2; n > 0; --n) {
      switch (random() % 6) {
        case 0:
          mutate(model.tokens[random() % model.tokens.size()]);
          break;
        case 1:
          mutate(model.merges[random() % model.merges.size()]);
          break;
        case 2:
          model.types[random() % model.types.size()] = static_cast<int32_t>(random() % 9) - 1;
          break;
        case 3:
          model.rest.set_integer("tokenizer.ggml.bos_token_id", random() % 300);
          break;
        case 4:
          model.tokens.resize(random() % (model.tokens.size() + 1));
          model.types.resize(model.tokens.size());
          break;
        case 5:
          std::swap(model.tokens[random() % model.tokens.size()], model.merges[random() % model.merges.size()]);
          break;
      }
      if (model.tokens.empty()) break;
    }
    outcome.add(model.metadata(), random, {"a", "b", "c", " a", "中", "<u>", "<|user|>", "\n"});
  }
  outcome.expect_both();
}

}  // namespace
}  // namespace steelyard::tokenizer
