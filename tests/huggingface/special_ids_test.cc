// Tokens with a meaning, from each of the files that may say it, and which of them counts.
#include "huggingface/special_ids.h"

#include <gmock/gmock.h>

#include "huggingface/tokenizer_folder.h"
#include "huggingface/tokenizer_metadata.h"
#include "support.h"

namespace steelyard::huggingface {
namespace {

using test::write_text;

// Tokens a b <s> </s> <pad> <turn> [gMASK] <|user|> <|observation|> <|endoftext|>.
constexpr const char* kAdded =
    R"({"id":2,"content":"<s>","special":true},{"id":3,"content":"</s>","special":true},)"
    R"({"id":4,"content":"<pad>","special":true},{"id":5,"content":"<turn>","special":false})";
constexpr const char* kGlm =
    R"(,{"id":6,"content":"[gMASK]","special":true},{"id":7,"content":"<|user|>","special":true},)"
    R"({"id":8,"content":"<|observation|>","special":true},{"id":9,"content":"<|endoftext|>","special":true})";

struct Folder {
  test::TempFolder folder;

  explicit Folder(const std::string& post_processor = "null", const std::string& more = "") {
    write_text(folder / "tokenizer.json", std::string(R"({"added_tokens":[)") + kAdded + more +
                                              R"(],"pre_tokenizer":{"type":"ByteLevel"},)" + R"("post_processor":)" +
                                              post_processor +
                                              R"(,"model":{"type":"BPE","vocab":{"a":0,"b":1},"merges":[]}})");
  }
  void file(const std::string& name, const std::string& text) const { write_text(folder / name, text); }
  gguf::Metadata metadata() const { return tokenizer_metadata(folder / ""); }
  int64_t id(const char* key) const { return metadata().integer(std::string("tokenizer.ggml.") + key, -1); }
  int adds(const char* key) const {
    const gguf::Metadata all = metadata();
    const std::string name = std::string("tokenizer.ggml.") + key;
    return all.contains(name) ? all.boolean(name, false) : -1;
  }
};

TEST(SpecialIds, AreFoundByTheirTexts) {
  const Folder folder;
  folder.file(
      "tokenizer_config.json",
      R"({"bos_token":"<s>","eos_token":{"content":"</s>","lstrip":false},"pad_token":null,"unk_token":"none"})");
  folder.file("special_tokens_map.json", R"({"pad_token":{"content":"<pad>"},"bos_token":"</s>"})");
  EXPECT_EQ(folder.id("bos_token_id"), 2);
  EXPECT_EQ(folder.id("eos_token_id"), 3);
  EXPECT_EQ(folder.id("padding_token_id"), 4);  // the next file says it
  EXPECT_EQ(folder.id("unknown_token_id"), -1);
  EXPECT_EQ(folder.adds("add_bos_token"), -1);
}

TEST(SpecialIds, AreFoundByNumber) {
  const Folder folder;
  folder.file("tokenizer_config.json", R"({"bos_token":"<s>"})");
  folder.file("config.json", R"({"bos_token_id":1,"eos_token_id":3,"pad_token_id":99,"unk_token_id":-1})");
  folder.file("generation_config.json", R"({"eos_token_id":1,"pad_token_id":4})");
  EXPECT_EQ(folder.id("bos_token_id"), 2);
  EXPECT_EQ(folder.id("eos_token_id"), 3);
  EXPECT_EQ(folder.id("padding_token_id"), 4);
  EXPECT_EQ(folder.id("unknown_token_id"), -1);
}

TEST(SpecialIds, TheTextsPartStandsBeforeTheWhole) {
  const Folder folder;
  folder.file("config.json", R"({"eos_token_id":1,"text_config":{"eos_token_id":3}})");
  EXPECT_EQ(folder.id("eos_token_id"), 3);
}

TEST(SpecialIds, OtherEndsOfATextGetAKey) {
  const Folder folder;
  folder.file("config.json", R"({"bos_token_id":2,"eos_token_id":[3,5,2]})");
  EXPECT_EQ(folder.id("eos_token_id"), 3);
  EXPECT_EQ(folder.id("eot_token_id"), 5);
  EXPECT_EQ(folder.id("eom_token_id"), -1);
  EXPECT_EQ(folder.metadata().integers("tokenizer.ggml.token_type")[5], 3);  // and is no text any more
}

// As transformers and llama.cpp's converter read the template of a single text.
TEST(SpecialIds, ThePostProcessorSaysWhatIsAdded) {
  const std::string bos = R"({"SpecialToken":{"id":"<s>","type_id":0}})", a = R"({"Sequence":{"id":"A","type_id":0}})",
                    b = R"({"Sequence":{"id":"B","type_id":1}})", eos = R"({"SpecialToken":{"id":"</s>","type_id":0}})";
  const auto processor = [](const std::string& single, const std::string& pair) {
    return R"({"type":"TemplateProcessing","single":[)" + single + R"(],"pair":[)" + pair + "]}";
  };
  const Folder first(processor(bos + "," + a, bos + "," + a + "," + bos + "," + b));
  first.file("tokenizer_config.json", R"({"bos_token":"<s>","add_bos_token":false,"add_eos_token":true})");
  EXPECT_EQ(first.adds("add_bos_token"), 1);  // the template counts
  EXPECT_EQ(first.adds("add_eos_token"), 1);
  EXPECT_EQ(first.adds("add_sep_token"), 0);

  const Folder both(R"({"type":"Sequence","processors":[{"type":"ByteLevel"},)" +
                    processor(bos + "," + a + "," + eos, bos + "," + a + "," + eos + "," + b + "," + eos) + "]}");
  both.file("tokenizer_config.json", R"({"eos_token":"<pad>"})");
  EXPECT_EQ(both.adds("add_bos_token"), 1);
  EXPECT_EQ(both.adds("add_eos_token"), 1);
  EXPECT_EQ(both.id("bos_token_id"), 2);
  EXPECT_EQ(both.id("eos_token_id"), 3);  // what stands at the end
  EXPECT_EQ(both.id("eot_token_id"), 4);

  const Folder none(R"({"type":"ByteLevel"})");
  EXPECT_EQ(none.adds("add_bos_token"), 0);
  EXPECT_EQ(none.adds("add_eos_token"), 0);
}

TEST(SpecialIds, Glm) {
  const Folder folder("null", kGlm);
  folder.file("tokenizer_config.json", R"({"eos_token":"<|endoftext|>"})");
  folder.file("config.json", R"({"eos_token_id":[9,7,8]})");
  EXPECT_EQ(folder.id("bos_token_id"), 6);
  EXPECT_EQ(folder.id("eos_token_id"), 9);
  EXPECT_EQ(folder.id("eot_token_id"), 7);
  EXPECT_EQ(folder.id("eom_token_id"), 8);
  EXPECT_EQ(folder.id("unknown_token_id"), 9);
}

}  // namespace
}  // namespace steelyard::huggingface
