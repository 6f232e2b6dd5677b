// Error messages are one printable line, whatever bytes a file brings.
#include "base/error.h"

#include <gtest/gtest.h>

#include <string>

namespace steelyard {
namespace {

TEST(ErrorTest, SaysWhereAndWhat) {
  try {
    fail("model.gguf", "found {}, expected {}", 1, "two");
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "model.gguf: found 1, expected two");
    EXPECT_EQ(error.where(), "model.gguf");
  }
}

TEST(ErrorTest, OmitsAnEmptyPlace) { EXPECT_STREQ(Error("", "no flag given").what(), "no flag given"); }

TEST(PrintableTest, KeepsTextAndWellFormedUtf8) {
  EXPECT_EQ(printable("blk.0.attn_q.weight"), "blk.0.attn_q.weight");
  EXPECT_EQ(printable("\u00e4 \u20ac \U0001F600"), "\u00e4 \u20ac \U0001F600");
  EXPECT_EQ(printable(""), "");
}

TEST(PrintableTest, EscapesControlBytes) {
  EXPECT_EQ(printable(std::string_view("a\nb\0c\x1b[31m\x7f", 11)), "a\\x0ab\\x00c\\x1b[31m\\x7f");
  EXPECT_EQ(printable("\xc2\x9b"), "\\xc2\\x9b") << "U+009B starts an escape sequence like ESC [";
  EXPECT_EQ(printable("\xc2\xa0"), "\xc2\xa0");
}

TEST(PrintableTest, EscapesMalformedUtf8) {
  EXPECT_EQ(printable("\x80"), "\\x80");                             // continuation without lead
  EXPECT_EQ(printable("\xc3"), "\\xc3");                             // cut short
  EXPECT_EQ(printable("\xc3(x"), "\\xc3(x");                         // no continuation
  EXPECT_EQ(printable("\xc0\xaf"), "\\xc0\\xaf");                    // overlong
  EXPECT_EQ(printable("\xe0\x80\x80"), "\\xe0\\x80\\x80");           // overlong
  EXPECT_EQ(printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");           // surrogate
  EXPECT_EQ(printable("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");  // beyond U+10FFFF
  EXPECT_EQ(printable("\xff"), "\\xff");
}

TEST(PrintableTest, CutsWhatIsLong) {
  EXPECT_EQ(printable("abcdef", 6), "abcdef");
  EXPECT_EQ(printable("abcdefg", 6), "abcdef...");
  EXPECT_EQ(printable("ab\u20acd", 3), "ab\u20ac...") << "a sequence is never cut in two";
  EXPECT_LT(printable(std::string(1000000, '\x01')).size(), 200u);
}

}  // namespace
}  // namespace steelyard
