// Tokenizers of folders that are damaged, contradict themselves or are of another kind: one line each, in time that
// grows with the file.
#include <gmock/gmock.h>

#include "base/error.h"
#include "growth.h"
#include "huggingface/sentencepiece_model.h"
#include "huggingface/tokenizer_folder.h"
#include "huggingface/tokenizer_metadata.h"
#include "support.h"

namespace steelyard::huggingface {
namespace {

using test::field;
using test::write_text;
using testing::HasSubstr;

std::string refusal(const test::TempFolder& folder) {
  try {
    tokenizer_metadata(folder / "");
  } catch (const Error& error) {
    EXPECT_EQ(std::string_view(error.what()).find('\n'), std::string_view::npos);
    return error.what();
  }
  return "none";
}

std::string refusal_of_json(const std::string& text) {
  const test::TempFolder folder;
  write_text(folder / "tokenizer.json", text);
  return refusal(folder);
}

std::string with_model(const std::string& model, const std::string& more = "") {
  return R"({"pre_tokenizer":{"type":"ByteLevel"},)" + more + R"("model":)" + model + "}";
}

std::string refusal_of_model(const std::string& bytes) {
  const test::TempFolder folder;
  write_text(folder / "tokenizer.model", bytes);
  return refusal(folder);
}

TEST(TokenizerRefused, FolderWithoutOne) {
  const test::TempFolder folder;
  EXPECT_THAT(refusal(folder), HasSubstr("found neither tokenizer.json nor a tokenizer.model"));
  write_text(folder / "tokenizer.model", "IQ== 0\nIg== 1\n");  // tiktoken's
  EXPECT_THAT(refusal(folder), HasSubstr("found neither tokenizer.json nor a tokenizer.model of SentencePiece"));
}

TEST(TokenizerRefused, Json) {
  EXPECT_THAT(refusal_of_json("[]"), HasSubstr("tokenizer.json: found an array, expected an object"));
  EXPECT_THAT(refusal_of_json("{}"), HasSubstr("found no object model"));
  EXPECT_THAT(refusal_of_json("{\"model\":{\"vocab\""), HasSubstr("no JSON at byte"));
  EXPECT_THAT(refusal_of_json("{\"a\":\"\xff\"}"), HasSubstr("no JSON at byte"));
  EXPECT_THAT(refusal_of_json(with_model(R"({"type":"Unigram","vocab":[["a",0]]})")),
              HasSubstr("found a tokenizer of the kind 'Unigram'; the runtime knows BPE"));
  EXPECT_THAT(refusal_of_json(with_model(R"({"type":"BPE","vocab":[],"merges":[]})")), HasSubstr("model.vocab"));
  EXPECT_THAT(refusal_of_json(with_model(R"({"type":"BPE","vocab":{"a":0}})")), HasSubstr("model.merges"));
  EXPECT_THAT(refusal_of_json(with_model(R"({"type":"BPE","vocab":{"a":0},"merges":[],"end_of_word_suffix":"</w>"})")),
              HasSubstr("model.end_of_word_suffix is '</w>'"));
}

TEST(TokenizerRefused, Ids) {
  const auto with = [](const std::string& vocab, const std::string& added = "") {
    return refusal_of_json(
        with_model(R"({"type":"BPE","vocab":{)" + vocab + R"(},"merges":[]})", R"("added_tokens":[)" + added + "],"));
  };
  EXPECT_EQ(with(R"("a":0,"b":1)"), "none");
  EXPECT_THAT(with(R"("a":0,"b":-1)"), HasSubstr("token 'b' has id -1, expected 0 to 2147483646"));
  EXPECT_THAT(with(R"("a":0,"b":"1")"), HasSubstr("token 'b' has id \"1\""));
  EXPECT_THAT(with(R"("a":0,"b":1.5)"), HasSubstr("token 'b' has id 1.5"));
  EXPECT_THAT(with(R"("a":0,"b":99999999999)"), HasSubstr("token 'b' has id 99999999999"));
  EXPECT_THAT(with(R"("a":1,"b":1)"), HasSubstr("tokens 'a' and 'b' have both id 1"));
  EXPECT_THAT(with(R"("a":0,"b":2147483646)"), HasSubstr("a vocabulary of 2147483647 tokens of which 2 have a text"));
  EXPECT_THAT(with(R"("a":0)", R"({"id":1,"content":"x"},{"id":1,"content":"y"})"),
              HasSubstr("two added tokens have id 1; one is 'y'"));
  EXPECT_THAT(with(R"("a":0)", R"({"id":1})"), HasSubstr("has no content and id"));
  EXPECT_THAT(with(R"("a":0)", "7"), HasSubstr("has no content and id"));
}

TEST(TokenizerRefused, AVocabularyLargerThanTheEmbedding) {
  const test::TempFolder folder;
  write_text(folder / "tokenizer.json", with_model(R"({"type":"BPE","vocab":{"a":0,"b":7},"merges":[]})"));
  write_text(folder / "config.json", R"({"vocab_size":7})");
  EXPECT_THAT(refusal(folder), HasSubstr("token 'b' has id 7, but vocab_size of config.json is 7"));
  write_text(folder / "config.json", R"({"vocab_size":"many"})");
  EXPECT_THAT(refusal(folder), HasSubstr("config.json: vocab_size is \"many\""));
  write_text(folder / "config.json", R"({"vocab_size":2000000000})");
  EXPECT_THAT(refusal(folder), HasSubstr("expected at most 65536 without one"));
}

TEST(TokenizerRefused, Merges) {
  for (const char* merge : {R"("ab")", R"("a b c")", R"(" ab")", R"("ab ")", R"(["a"])", R"(["a","b","c"])",
                            R"(["a",""])", R"([1,2])", "3", "null", "{}"}) {
    SCOPED_TRACE(merge);
    EXPECT_THAT(
        refusal_of_json(with_model(R"({"type":"BPE","vocab":{"a":0},"merges":["a a",)" + std::string(merge) + "]}")),
        HasSubstr("merge 1 is "));
  }
}

TEST(TokenizerRefused, TextThatIsChangedBeforeItIsSplit) {
  const std::string model = R"({"type":"BPE","vocab":{"a":0},"merges":[]})";
  EXPECT_EQ(refusal_of_json(with_model(model, R"("normalizer":{"type":"NFC"},)")), "none");
  EXPECT_THAT(refusal_of_json(with_model(model, R"("normalizer":{"type":"Lowercase"},)")),
              HasSubstr("text is normalized by 'Lowercase'"));
}

TEST(TokenizerRefused, SentencePiece) {
  const std::string good = field(1, test::piece("a", -1.0f, 1)), bpe = field(2, field(3, uint64_t{2}));
  EXPECT_EQ(refusal_of_model(good + bpe), "none");
  EXPECT_THAT(refusal_of_model(good), HasSubstr("of type 1 (unigram), expected 2: BPE"));
  EXPECT_THAT(refusal_of_model(good + field(2, field(3, uint64_t{3}))), HasSubstr("of type 3, expected 2"));
  EXPECT_THAT(refusal_of_model(good + field(1, test::piece("b", -1.0f, 9)) + bpe), HasSubstr("piece 1: has type 9"));
  EXPECT_THAT(refusal_of_model(good + field(1, test::piece("\xff", -1.0f, 1)) + bpe),
              HasSubstr("piece 1: '\\xff' is no UTF-8"));
  EXPECT_THAT(refusal_of_model(good + field(1, test::piece("b", 1.0f / 0.0f, 1)) + bpe),
              HasSubstr("'b' has score inf"));
  EXPECT_THAT(refusal_of_model(good + field(1, field(3, "text")) + bpe),
              HasSubstr("field 3 has wire type 2, expected 0"));
  EXPECT_THAT(refusal_of_model(good + std::string("\x0b", 1)), HasSubstr("wire type 3"));
  EXPECT_THAT(refusal_of_model(good + std::string("\x02", 1)), HasSubstr("field of number 0"));
  EXPECT_THAT(refusal_of_model(good + "\x0a" + std::string(11, '\xff')), HasSubstr("number of more than 64 bits"));
  const std::string whole = good + bpe;
  for (size_t size = 1; size < whole.size(); ++size) EXPECT_NE(refusal_of_model(whole.substr(0, size)), "none") << size;
}

TEST(TokenizerRefused, TimeGrowsWithTheFile) {
  const auto folder_of = [](size_t n) {
    std::string vocab = "\"a\":0", merges = "\"a a\"", added = R"({"id":1,"content":"b"})";
    for (size_t i = 2; i < n; ++i) {
      vocab += fmt::format(",\"a{}\":{}", i, i);
      merges += fmt::format(",[\"a\",\"{}\"]", i);
      added += fmt::format(R"(,{{"id":{},"content":"<{}>"}})", n + i, i);
    }
    return with_model(R"({"type":"BPE","vocab":{)" + vocab + R"(},"merges":[)" + merges + "]}",
                      R"("added_tokens":[)" + added + "],");
  };
  const double growth = test::growth(2000, folder_of, [](const std::string& text) {
    const test::TempFolder folder;
    write_text(folder / "tokenizer.json", text);
    EXPECT_EQ(tokenizer_metadata(folder / "").string("tokenizer.ggml.pre"), "gpt-2");
  });
  EXPECT_LT(growth, test::kAboutLinear);
}

}  // namespace
}  // namespace steelyard::huggingface
