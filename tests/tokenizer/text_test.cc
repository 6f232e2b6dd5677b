// The byte alphabet and the repair of UTF-8.
#include "support.h"
#include "tokenizer/byte_alphabet.h"
#include "tokenizer/utf8.h"

namespace steelyard::tokenizer {
namespace {

std::string all_bytes() {
  std::string bytes;
  for (int b = 0; b < 256; ++b) bytes.push_back(static_cast<char>(b));
  return bytes;
}

TEST(ByteAlphabet, KnownCharacters) {
  EXPECT_EQ(spelling_of_bytes(" hi\n"), "ĠhiĊ");
  EXPECT_EQ(spelling_of_bytes(std::string(1, '\0')), "Ā");
  EXPECT_EQ(spelling_of_bytes("\xAD"), "Ń");  // the last of the 68
  EXPECT_EQ(spelling_of_bytes("é"), "Ã©");
}

TEST(ByteAlphabet, Inverts) { EXPECT_EQ(bytes_of_spelling(spelling_of_bytes(all_bytes())), all_bytes()); }

TEST(ByteAlphabet, OtherCharactersAreNotInIt) {
  for (const char* text : {" ", "a b", "\n", "ń", "中", "\u00AD", "\x80", "\xC3", "\xC0\xAF", "a\xFF"}) {
    EXPECT_EQ(bytes_of_spelling(text), std::nullopt) << text;
  }
}

TEST(Utf8, ValidStays) {
  const std::string text = "a\u00e9\u4e2d\U0001F642" + std::string(1, '\0') + "\U0010FFFF\uD7FF\uE000\uFFFF";
  EXPECT_EQ(valid_utf8(text), text);
  EXPECT_EQ(valid_utf8(""), "");
}

TEST(Utf8, BadBytesAreReplacedOneByOne) {
  EXPECT_EQ(valid_utf8("\xFF"), "\uFFFD");
  EXPECT_EQ(valid_utf8("ab\xC3"), "ab\uFFFD");
  EXPECT_EQ(valid_utf8("x\xE4\xBD y"), "x\uFFFD\uFFFD y");
  EXPECT_EQ(valid_utf8("\xF0\x9F\x98 z"), "\uFFFD\uFFFD\uFFFD z");
  EXPECT_EQ(valid_utf8("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");            // a surrogate
  EXPECT_EQ(valid_utf8("\xF4\x90\x80\x80"), "\uFFFD\uFFFD\uFFFD\uFFFD");  // U+110000
}

TEST(Utf8, OverlongIsItsCharacter) {
  EXPECT_EQ(valid_utf8("\xC0\xAF"), "/");
  EXPECT_EQ(valid_utf8("\xE0\x80\xAF"), "/");
  EXPECT_EQ(valid_utf8("\xF0\x82\x82\xAC"), "€");
}

}  // namespace
}  // namespace steelyard::tokenizer
