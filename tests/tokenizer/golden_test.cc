// Token ids against recorded ones, over all pre-tokenizers, SentencePiece and all flags. The boundary-bpe vocabulary
// merges across any boundary, so that its ids show where every pre-tokenizer splits.
#include <nlohmann/json.hpp>

#include "gguf/reader.h"
#include "support.h"
#include "tokenizer/tokenizer.h"

namespace steelyard::tokenizer {
namespace {

using nlohmann::json;

std::string from_hex(const std::string& hex) {
  std::string bytes;
  for (size_t i = 0; i < hex.size(); i += 2)
    bytes.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  return bytes;
}

// Compares all cases of the record `file` in `folder`; returns how many there were.
int compare(const std::string& folder, const std::string& file) {
  SCOPED_TRACE(file);
  const json record = json::parse(test::read_text(folder + "/" + file));
  const gguf::Reader reader(folder + "/" + record["vocab_file"].get<std::string>(), gguf::ReadMode::kHeader);
  gguf::Metadata metadata = reader.metadata();
  if (record.contains("model")) metadata.set_string("tokenizer.ggml.model", record["model"].get<std::string>());
  if (file.find("__pre_") != std::string::npos) {
    metadata.set_string("tokenizer.ggml.pre", record["pre"].get<std::string>());
  }
  const Tokenizer tokenizer(metadata);
  EXPECT_EQ(tokenizer.n_tokens(), record["n_vocab"].get<int>());
  EXPECT_EQ(tokenizer.bos(), record["bos"].get<TokenId>());
  EXPECT_EQ(tokenizer.eos(), record["eos"].get<TokenId>());
  EXPECT_EQ(tokenizer.add_bos(), record["add_bos"].get<bool>());
  EXPECT_EQ(tokenizer.add_eos(), record["add_eos"].get<bool>());
  EXPECT_TRUE(tokenizer.is_end_of_generation(*tokenizer.eos()));

  int n_cases = 0;
  for (const json& c : record["cases"]) {
    const std::string hex = c["hex"];
    SCOPED_TRACE(hex);
    const std::string text = from_hex(hex);
    const std::vector<TokenId> ids = tokenizer.encode(text, false, false);
    const std::vector<TokenId> parsed = tokenizer.encode(text, false, true);
    EXPECT_EQ(ids, c["ids"].get<std::vector<TokenId>>());
    EXPECT_EQ(tokenizer.encode(text, true, true), c["ids_special"].get<std::vector<TokenId>>());
    EXPECT_EQ(parsed, c["ids_parse_special_only"].get<std::vector<TokenId>>());
    if (c.contains("decoded")) {  // SentencePiece keeps invalid UTF-8, and the space it puts before a text
      EXPECT_EQ(tokenizer.decode(ids, true), from_hex(c["decoded"]));
      EXPECT_EQ(tokenizer.decode(tokenizer.encode(text, true, true), true), from_hex(c["decoded_special"]));
    } else if (!c.contains("invalid_utf8")) {
      EXPECT_EQ(tokenizer.decode(ids, true), text);
      EXPECT_EQ(tokenizer.decode(parsed, true), text);
    }
    ++n_cases;
  }
  return n_cases;
}

class BoundaryGolden : public testing::TestWithParam<const char*> {};

TEST_P(BoundaryGolden, SameIds) {
  EXPECT_EQ(compare(test::golden("tokenizers"), std::string("boundary-bpe__pre_") + GetParam() + ".json"), 95);
}

INSTANTIATE_TEST_SUITE_P(All, BoundaryGolden,
                         testing::Values("afmoe", "bailingmoe", "bloom", "chatglm-bpe", "deepseek-coder",
                                         "deepseek-llm", "deepseek-v3", "default", "exaone-moe", "falcon", "glm4",
                                         "gpt-2", "gpt-4o", "hunyuan", "jais-2", "kimi-k2", "laguna", "llama-bpe",
                                         "minicpm5", "minimax-m2", "qwen2", "qwen35", "seed-coder", "smollm",
                                         "spark2_5", "starcoder", "tekken", "tiny_aya", "ufakzeka", "viking", "youtu"),
                         [](const auto& pre) {
                           std::string name = pre.param;
                           for (char& c : name) c = c == '-' ? '_' : c;
                           return name;
                         });

TEST(MiniGpt2Golden, SameIds) {
  for (const char* file : {"mini-gpt2-6k.json", "mini-gpt2-6k__pre_deepseek-v3.json", "mini-gpt2-6k__pre_glm4.json",
                           "mini-gpt2-6k__pre_llama-bpe.json", "mini-gpt2-6k__pre_qwen2.json"}) {
    EXPECT_EQ(compare(test::golden("tokenizers"), file), 95);
  }
}

// Vocabularies with and without a space before text, the second with tokens that go over the end of a word.
TEST(SpmGolden, SameIds) {
  EXPECT_EQ(compare(test::golden("tokenizers"), "spm-words.json"), 255);
  EXPECT_EQ(compare(test::golden("tokenizers"), "spm-across.json"), 255);
}

// BPE over characters: with a kind of its own, which adds BOS even against the file's word, and by a pre-tokenizer.
TEST(Gemma4Golden, SameIds) {
  EXPECT_EQ(compare(test::golden("tokenizers"), "gemma4-bpe.json"), 105);
  EXPECT_EQ(compare(test::golden("tokenizers"), "gemma4-bpe__pre_sarvam-moe.json"), 105);
}

// A model of this name drops white space behind marked tokens.
TEST(Phi3Golden, SameIds) { EXPECT_EQ(compare(test::golden("tokenizers"), "spm-phi3.json"), 75); }

TEST(Gpt2Golden, SameIds) {
  const std::string folder = test::shared("golden/tokenizers");
  if (!std::filesystem::exists(folder + "/ggml-vocab-gpt-2.gguf")) GTEST_SKIP() << "no GPT-2 vocabulary in " << folder;
  for (const char* file : {"gpt-2.json", "gpt-2__pre_deepseek-v3.json", "gpt-2__pre_default.json",
                           "gpt-2__pre_glm4.json", "gpt-2__pre_llama-bpe.json", "gpt-2__pre_qwen2.json"}) {
    EXPECT_EQ(compare(folder, file), 95);
  }
}

}  // namespace
}  // namespace steelyard::tokenizer
