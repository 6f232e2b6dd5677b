// The file of a text that a model has written: what is printed is read again, and whatever is wrong is one line that
// names the file and the line.
#include "jobs/saved_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "error_of.h"
#include "gguf/reader.h"
#include "support.h"

namespace steelyard::jobs {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

const std::string kWhere = "own.text";

class SavedTextFile : public testing::Test {
 protected:
  static tokenizer::Tokenizer tokenizer_of(const std::string& model) {
    return tokenizer::Tokenizer(gguf::Reader(model, gguf::ReadMode::kHeader).metadata());
  }

  SavedTextFile() {
    text_.n_ctx = 8;
    text_.write = {{"seed", 3}};
    text_.chunks.resize(3);
    text_.chunks[0] = {.ids = {72, 73, 74, 75, 76, 77, 78, 79}, .starts = {0}};
    text_.chunks[1] = {.ids = {0, 271, 130, 131, 269, 80, 200, 255}, .starts = {0, 1, 5}};
    text_.chunks[2] = {.ids = {65, 66, 67, 68, 69, 70, 71, 268}, .starts = {0, 7}};
    content_ = print(text_, 3, tokenizer_);
  }

  SavedText read(const std::string& content) const { return parse_saved_text(content, tokenizer_, kWhere); }

  // The content is refused in one line that begins with the name of the file.
  void expect_refused(const std::string& content, const std::string& reason) const {
    const std::string error = test::error_of([&] { read(content); });
    EXPECT_THAT(error, StartsWith(kWhere + ": ")) << content.substr(0, 1000);
    EXPECT_THAT(error, HasSubstr(reason)) << content.substr(0, 1000);
    EXPECT_EQ(error.find('\n'), std::string::npos) << error;
    EXPECT_LT(error.size(), 300u) << error;
  }

  // The same of the content with `part`, which it has, replaced by `by`.
  void expect_refused_with(const std::string& part, const std::string& by, const std::string& reason) const {
    std::string content = content_;
    const size_t at = content.find(part);
    ASSERT_NE(at, std::string::npos) << part;
    expect_refused(content.replace(at, part.size(), by), reason);
  }

  const tokenizer::Tokenizer tokenizer_ = tokenizer_of(test::golden("models/llama/model.gguf"));
  SavedText text_;
  std::string content_;
};

TEST_F(SavedTextFile, ReadsWhatItPrints) {
  EXPECT_TRUE(is_saved_text(content_));
  const SavedText read_again = read(content_);
  EXPECT_EQ(read_again.n_ctx, text_.n_ctx);
  EXPECT_EQ(read_again.write, text_.write);
  ASSERT_EQ(read_again.chunks.size(), text_.chunks.size());
  for (size_t c = 0; c < text_.chunks.size(); ++c) {
    EXPECT_EQ(read_again.chunks[c].ids, text_.chunks[c].ids) << c;
    EXPECT_EQ(read_again.chunks[c].starts, text_.chunks[c].starts) << c;
  }
  EXPECT_EQ(print(read_again, 3, tokenizer_), content_);
}

TEST_F(SavedTextFile, IsLinesForPeople) {
  const size_t end = content_.find('\n');
  const Json header = Json::parse(content_.substr(0, end));
  EXPECT_EQ(header.at("steelyard_text"), 1);
  EXPECT_EQ(header.at("vocabulary"), vocabulary_hash(tokenizer_));
  EXPECT_EQ(header.at("n_ctx"), 8);
  EXPECT_EQ(header.at("n_chunks"), 3);
  EXPECT_EQ(std::ranges::count(content_, '\n'), 4);
  // Each text by itself, special tokens by name; a byte that is no character does not end the line's being UTF-8.
  Json chunk = Json::parse(content_.substr(end + 1, content_.find('\n', end + 1) - end - 1));
  EXPECT_EQ(chunk.at("text"), Json::parse(R"(["HIJKLMNO"])"));
  const size_t last = content_.rfind('\n', content_.size() - 2) + 1;
  chunk = Json::parse(content_.substr(last));
  EXPECT_EQ(chunk.at("starts").size(), chunk.at("text").size());
  EXPECT_EQ(chunk.at("text")[1], tokenizer_.decode(std::vector<tokenizer::TokenId>{268}, /*special=*/true));
}

TEST_F(SavedTextFile, TheFirstChunksAreATextOfTheirOwn) {
  const SavedText first = read(print(text_, 2, tokenizer_));
  ASSERT_EQ(first.chunks.size(), 2u);
  EXPECT_EQ(first.chunks[1].ids, text_.chunks[1].ids);
}

TEST_F(SavedTextFile, BecomesChunksAsTheyAre) {
  const tokenizer::Chunks all = text_.as_chunks(0, 0, kWhere), two = text_.as_chunks(0, 2, kWhere);
  EXPECT_EQ(all.count(), 3);
  EXPECT_EQ(two.count(), 2);
  EXPECT_EQ(text_.as_chunks(0, 9, kWhere).count(), 3);
  EXPECT_EQ(all.n_ctx(), 8);
  EXPECT_EQ(all.input(1), text_.chunks[1].ids);
  EXPECT_THAT(std::vector(all.starts(1).begin(), all.starts(1).end()), testing::ElementsAre(0, 1, 5));
  EXPECT_THAT(test::error_of([&] { SavedText{.n_ctx = 8}.as_chunks(0, 0, kWhere); }), HasSubstr("has no chunks"));
}

TEST_F(SavedTextFile, OtherFilesAreNone) {
  for (const char* content : {"", "{", "steelyard_text", "{\"ids\":[1]}\n", "A plain text.\n"}) {
    EXPECT_FALSE(is_saved_text(content)) << content;
  }
}

TEST_F(SavedTextFile, CutOff) {
  // Whatever is missing at the end shows, wherever the cut is.
  for (size_t size = content_.find('\n') + 1; size < content_.size(); ++size) {
    const bool whole_lines = content_[size - 1] == '\n';
    expect_refused(content_.substr(0, size), whole_lines ? "chunks, expected 3" : "its last line is cut off");
  }
  for (size_t size = 1; size <= content_.find('\n'); ++size) {
    expect_refused(content_.substr(0, size), "its last line is cut off");
  }
}

TEST_F(SavedTextFile, LinesThatAreNoJson) {
  expect_refused_with("{\"ids\":[0,", "\"ids\":[0,", "line 3 is not JSON");
  expect_refused_with("[72,", "[72,,", "line 2 is not JSON");
  expect_refused_with("}\n{", "}\n\n{", "line 2 is not JSON");
  expect_refused_with("\"n_ctx\":8", "\"n_ctx\":08", "line 1 is not JSON");
  expect_refused_with("HIJK", "H\xff\xfeJK", "line 2 is not JSON");
  expect_refused(content_ + "more\n", "line 5 is not JSON");
  for (const char* line : {"[]\n", "null\n", "1\n", "\"text\"\n"}) {
    expect_refused(line, "expected names and values");
    expect_refused(content_ + line, "line 5: expected names and values");
  }
}

TEST_F(SavedTextFile, Headers) {
  expect_refused_with("\"n_chunks\":3", "\"n_chunks\":4", "has 3 chunks, expected 4");
  expect_refused_with("\"n_chunks\":3", "\"n_chunks\":2", "has 3 chunks, expected 2");
  expect_refused_with("\"n_chunks\":3", "\"n_chunks\":-1", "has 3 chunks, expected -1");
  expect_refused_with("\"n_chunks\":3", "\"n_chunks\":9223372036854775807", "has 3 chunks, expected 92233");
  expect_refused_with("\"n_chunks\":3", "\"n_chunks\":9223372036854775808", "n_chunks: expected a number from");
  expect_refused_with("\"n_chunks\":3", "\"n_chunks\":1e300", "n_chunks: expected a whole number");
  expect_refused_with(",\"n_chunks\":3", "", "has 3 chunks, expected 0");
  for (const char* n_ctx : {"0", "-8", "1048577", "9223372036854775807", "-9223372036854775808"}) {
    expect_refused_with("\"n_ctx\":8", "\"n_ctx\":" + std::string(n_ctx), "its chunks have " + std::string(n_ctx));
  }
  expect_refused_with("\"n_ctx\":8", "\"n_ctx\":7", "line 2 has 8 ids, expected 7");
  expect_refused_with("\"n_ctx\":8", "\"n_ctx\":\"8\"", "n_ctx: expected a whole number");
  expect_refused_with("\"n_ctx\":8", "\"n_ctx\":99999999999999999999", "n_ctx: expected a whole number");
  expect_refused_with("\"n_ctx\":8", "\"n_ctx\":8,\"color\":1", "unknown option \"color\"");
  expect_refused_with("\"steelyard_text\":1", "\"steelyard_text\":2", "is a text of version 2, expected 1");
  expect_refused_with("\"vocabulary\":\"", "\"vocabulary\":\"0", "another vocabulary");
  expect_refused("{\"steelyard_text\":1}\n", "another vocabulary");
}

// A file of the next version is none that is taken for plain text.
TEST_F(SavedTextFile, OtherVersionsAreKnown) { EXPECT_TRUE(is_saved_text("{\"steelyard_text\":2}\n")); }

TEST_F(SavedTextFile, Ids) {
  expect_refused_with("[72,", "[-1,", "line 2: token -1 exceeds the vocabulary of 272");
  expect_refused_with("[72,", "[272,", "line 2: token 272 exceeds the vocabulary of 272");
  expect_refused_with("[72,", "[2147483647,", "line 2: token 2147483647 exceeds");
  expect_refused_with("[72,", "[2147483648,", "line 2: ids: expected a number from");
  expect_refused_with("[72,", "[99999999999999999999,", "line 2: ids: expected a whole number");
  expect_refused_with("[72,", "[7.5,", "line 2: ids: expected a whole number, found 7.5");
  expect_refused_with("[72,", "[\"H\",", "line 2: ids: expected a whole number");
  expect_refused_with("[72,", "[[72],", "line 2: ids: expected a whole number, found [72]");
  expect_refused_with("[72,", "[{\"a\":1},", "line 2: ids: expected a whole number, found {");
  expect_refused_with("[72,", "[", "line 2 has 7 ids, expected 8");
  expect_refused_with("[72,", "[72,72,", "line 2 has 9 ids, expected 8");
  expect_refused_with("[72,73,74,75,76,77,78,79]", "[]", "line 2 has 0 ids, expected 8");
  expect_refused_with("[72,73,74,75,76,77,78,79]", "8", "line 2: ids: expected a list");
  expect_refused_with("\"ids\":[72", "\"Ids\":[72", "line 2: unknown option \"Ids\"");
}

TEST_F(SavedTextFile, Starts) {
  const std::string starts = "\"starts\":[0,1,5]";
  for (const char* wrong : {"", "1,5", "-1,1,5", "0,0,5", "0,5,1", "0,1,1", "0,1,8", "0,1,9223372036854775807"}) {
    expect_refused_with(starts, "\"starts\":[" + std::string(wrong) + "]",
                        "line 3: starts must ascend from 0 and stay below 8");
  }
  expect_refused_with(starts, "\"starts\":[0,1e3]", "line 3: starts: expected a whole number");
  expect_refused_with("\"starts\":[0,1,5],", "", "line 3: starts must ascend");
  expect_refused_with("\"text\":[\"HIJK", "\"text\":[5,\"HIJK", "line 2: text: expected text");
}

TEST_F(SavedTextFile, OtherVocabularies) {
  const tokenizer::Tokenizer other =
      tokenizer_of(std::string(STEELYARD_SOURCE_DIR) + "/tests/models/glm-flash-tiny-bf16.gguf");
  EXPECT_NE(vocabulary_hash(other), vocabulary_hash(tokenizer_));
  EXPECT_EQ(vocabulary_hash(tokenizer_of(test::golden("models/deepseek2/model.gguf"))), vocabulary_hash(tokenizer_));
  EXPECT_THAT(test::error_of([&] { parse_saved_text(content_, other, kWhere); }),
              HasSubstr("was written by a model with another vocabulary"));
}

// The time for an object grows with the square of its names.
TEST_F(SavedTextFile, MoreNamesThanAnyOptionsHave) {
  std::string names;
  for (int i = 0; i < 1000; ++i) names += "\"" + std::to_string(i) + "\":0,";
  expect_refused_with("{\"ids\"", "{" + names + "\"ids\"", "line 2 is not JSON");
}

// Nested a million deep: that needs no stack as deep.
TEST_F(SavedTextFile, DeeplyNestedLists) {
  constexpr size_t kDeep = 1'000'000;
  const std::string nested = std::string(kDeep, '[') + std::string(kDeep, ']');
  expect_refused_with("[72,", "[" + nested + ",", "line 2 is not JSON");
  expect_refused_with("\"n_ctx\":8", "\"n_ctx\":" + nested, "line 1 is not JSON");
  expect_refused_with("\"seed\":3", "\"seed\":" + nested, "line 1 is not JSON");
  expect_refused(content_ + nested + "\n", "line 5 is not JSON");
}

}  // namespace
}  // namespace steelyard::jobs
