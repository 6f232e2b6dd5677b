// What a model folder's tokenizer becomes: goldens of the tokenizer, made into folders, come back as they were, in
// metadata and in ids that llama.cpp recorded.
#include "huggingface/tokenizer_metadata.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "gguf/reader.h"
#include "huggingface/tokenizer_folder.h"
#include "support.h"
#include "tokenizer/published_patterns.h"
#include "tokenizer/tokenizer.h"

namespace steelyard::huggingface {
namespace {

using test::TokenizerFolder;
using test::write_text;
using testing::HasSubstr;
using tokenizer::Tokenizer;

gguf::Metadata golden(const std::string& name) {
  return gguf::Reader(test::golden("tokenizers/" + name), gguf::ReadMode::kHeader).metadata();
}

// What a folder can say of it: all of the tokenizer's keys.
std::map<std::string, std::string> keys(const gguf::Metadata& metadata) {
  std::map<std::string, std::string> keys;
  for (const gguf::KeyValue& entry : metadata.entries()) {
    if (entry.key.starts_with("tokenizer.")) keys[entry.key] = std::string(gguf::name(entry.type)) + entry.raw;
  }
  return keys;
}

void expect_same_keys(const gguf::Metadata& found, const gguf::Metadata& expected) {
  const auto have = keys(found), want = keys(expected);
  for (const auto& [key, value] : want) EXPECT_TRUE(have.contains(key) && have.at(key) == value) << key;
  for (const auto& [key, value] : have) EXPECT_TRUE(want.contains(key)) << key;
}

const std::string kText =
    "Hello World, it's 12345 6 things!\n\n  x\t y <s></s> <|endoftext|><|im_start|>user\r\n你好，世界 中文 "
    "日本語 한국어 🚀😁🦙 naïve café ÉCOLE foo_bar 3.14   \n";

void expect_same_ids(const gguf::Metadata& found, const gguf::Metadata& expected) {
  const Tokenizer one(found), other(expected);
  for (const bool special : {false, true}) {
    EXPECT_EQ(one.encode(kText, special, special), other.encode(kText, special, special));
  }
}

TEST(TokenizerMetadata, ByteLevelVocabulariesComeBack) {
  for (const char* name : {"boundary-bpe.gguf", "mini-gpt2-6k.gguf"}) {
    for (const bool pairs : {false, true}) {
      SCOPED_TRACE(name);
      const test::TempFolder folder;
      const gguf::Metadata expected = golden(name);
      test::write_tokenizer_json(folder / "", expected, {.steps = {""}, .merges_as_pairs = pairs});
      test::write_configs(folder / "", expected, "gpt2");
      const gguf::Metadata found = tokenizer_metadata(folder / "");
      expect_same_keys(found, expected);
      expect_same_ids(found, expected);
    }
  }
}

// All patterns of the table, with the ids that llama.cpp recorded under the name that they are recognised by.
TEST(TokenizerMetadata, EveryPublishedPatternIsRecognised) {
  int recorded = 0;
  for (const auto& [name, published] : tokenizer::published_pretokenizers()) {
    SCOPED_TRACE(name);
    gguf::Metadata expected = golden("boundary-bpe.gguf");
    expected.set_string("tokenizer.ggml.pre", name);
    TokenizerFolder shape;
    for (const std::string_view step : published) {
      const bool cut = step.ends_with("...");
      shape.steps.emplace_back(cut ? std::string(step.substr(0, step.size() - 3)) + "]+" : std::string(step));
      if (step == tokenizer::kByteLevelPattern) shape.steps.back() = published.back() == step ? "" : std::string(step);
    }
    const test::TempFolder folder;
    test::write_tokenizer_json(folder / "", expected, shape);
    test::write_configs(folder / "", expected, "llama");
    const gguf::Metadata found = tokenizer_metadata(folder / "");
    const std::string recognised(found.string("tokenizer.ggml.pre"));
    // Where several split alike, a token or ignore_merges decides, and this vocabulary has none of them.
    const auto* entry = expected.find("tokenizer.ggml.pre");
    ASSERT_NE(entry, nullptr);
    const std::string record = test::golden("tokenizers/boundary-bpe__pre_" + recognised + ".json");
    if (!std::filesystem::exists(record)) continue;
    const Tokenizer tokenizer(found);
    const auto cases = nlohmann::json::parse(test::read_text(record))["cases"];
    for (const auto& one : cases) {
      std::string text;
      const std::string hex = one["hex"];
      for (size_t i = 0; i < hex.size(); i += 2) text += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
      EXPECT_EQ(tokenizer.encode(text, false, false), one["ids"].get<std::vector<tokenizer::TokenId>>());
    }
    recorded += !cases.empty();
  }
  EXPECT_GT(recorded, 20);
}

TEST(TokenizerMetadata, TokensTellModelsApartThatSplitAlike) {
  const std::string llama3 =
      R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  const auto recognised = [&](bool ignore_merges, const std::string& token) {
    const test::TempFolder folder;
    const gguf::Metadata golden_model = golden("../models/llama/model.gguf");
    test::write_tokenizer_json(folder / "", golden_model, {.steps = {llama3}, .ignore_merges = ignore_merges});
    std::string json = test::read_text(folder / "tokenizer.json");
    json.replace(json.find("\"added_tokens\":["), 16,
                 "\"added_tokens\":[{\"id\":5000,\"content\":\"" + token + "\",\"special\":true},");
    write_text(folder / "tokenizer.json", json);
    return std::string(tokenizer_metadata(folder / "").string("tokenizer.ggml.pre"));
  };
  EXPECT_EQ(recognised(true, "<|any|>"), "llama-bpe");
  EXPECT_EQ(recognised(false, "<|any|>"), "dbrx");
  EXPECT_EQ(recognised(false, "[gMASK]"), "glm4");
  EXPECT_EQ(recognised(true, "[gMASK]"), "glm4");
}

TEST(TokenizerMetadata, SentencePieceModelsComeBack) {
  for (const char* name : {"spm-words.gguf", "spm-across.gguf"}) {
    SCOPED_TRACE(name);
    const test::TempFolder folder;
    const gguf::Metadata expected = golden(name);
    write_text(folder / "tokenizer.model", test::sentencepiece_model(expected));
    test::write_configs(folder / "", expected, "llama");
    const gguf::Metadata found = tokenizer_metadata(folder / "");
    expect_same_keys(found, expected);
    expect_same_ids(found, expected);
  }
}

TEST(TokenizerMetadata, VocabulariesOfCharactersComeBack) {
  const test::TempFolder folder;
  gguf::Metadata expected = golden("gemma4-bpe.gguf");
  test::write_tokenizer_json(folder / "", expected, {.merges_as_pairs = true, .characters = true});
  test::write_configs(folder / "", expected, "gemma4_text");
  const gguf::Metadata gemma4 = tokenizer_metadata(folder / "");
  EXPECT_EQ(gemma4.string("tokenizer.ggml.model"), "gemma4");
  EXPECT_FALSE(gemma4.contains("tokenizer.ggml.pre"));
  EXPECT_TRUE(gemma4.boolean("tokenizer.ggml.add_bos_token", false));
  EXPECT_FALSE(gemma4.boolean("tokenizer.ggml.add_space_prefix", true));
  expect_same_ids(gemma4, expected);

  // The same vocabulary of a model that is joined by scores: the order of merges gives the same ids.
  test::write_configs(folder / "", expected, "gemma3_text");
  const gguf::Metadata scored = tokenizer_metadata(folder / "");
  EXPECT_EQ(scored.string("tokenizer.ggml.model"), "llama");
  EXPECT_FALSE(scored.boolean("tokenizer.ggml.add_space_prefix", true));
  const std::string words = "the quick brown fox, it's a test of words";
  EXPECT_EQ(Tokenizer(scored).encode(words, false, false), Tokenizer(expected).encode(words, false, false));
}

TEST(TokenizerMetadata, NamedPreTokenizersOverrideWhatIsFound) {
  const test::TempFolder folder;
  const gguf::Metadata expected = golden("boundary-bpe.gguf");
  test::write_tokenizer_json(folder / "", expected, {.steps = {"[a-z]+x"}});
  EXPECT_EQ(tokenizer_metadata(folder / "", "qwen2").string("tokenizer.ggml.pre"), "qwen2");
  const auto refusal = [&](const std::string& pre) {
    try {
      tokenizer_metadata(folder / "", pre);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_THAT(refusal(""), HasSubstr("unknown pre-tokenizer: '[a-z]+x'; name one that splits alike with --pre: "));
  EXPECT_THAT(refusal(""), HasSubstr("llama-bpe"));
  EXPECT_THAT(refusal("none"), HasSubstr("unknown pre-tokenizer 'none'; known are"));
}

TEST(TokenizerMetadata, IdsWithoutATokenAreFilledUp) {
  const test::TempFolder folder;
  const gguf::Metadata expected = golden("boundary-bpe.gguf");
  test::write_tokenizer_json(folder / "", expected, {.steps = {""}});
  write_text(folder / "config.json", R"({"vocab_size": 3, "text_config": {"vocab_size": 1536}})");
  const gguf::Metadata found = tokenizer_metadata(folder / "");
  const auto tokens = found.strings("tokenizer.ggml.tokens");
  ASSERT_EQ(tokens.size(), 1536u);
  EXPECT_EQ(tokens.back(), "[PAD1535]");
  EXPECT_EQ(found.integers("tokenizer.ggml.token_type").back(), 5);
}

}  // namespace
}  // namespace steelyard::huggingface
