// Text of users: what is text, what is refused with which words, and what is read twice although it can be read once.
#include "base/text_file.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <thread>

#include "base/atomic_file.h"
#include "error_of.h"
#include "support.h"

namespace steelyard {
namespace {

using namespace std::string_literals;
using testing::HasSubstr;

std::string refusal(std::string_view text) {
  return test::error_of([&] { check_text(text, "t.txt"); });
}

// Latin letters in another encoding: each byte of `letters` with NULs on either side.
std::string spread(std::string_view letters, size_t before, size_t after) {
  std::string text;
  for (const char c : letters) text += std::string(before, '\0') + c + std::string(after, '\0');
  return text;
}

constexpr std::string_view kLetters = "It was the best of times, it was the worst of times.\n";

TEST(CheckText, TakesUtf8) {
  for (const std::string& text : {""s, "plain\r\n"s, "caf\xC3\xA9\n"s, "\xEF\xBB\xBFwith a mark"s, "\xF0\x9F\x98\x80"s,
                                  "\x1B[1m and other control characters"s}) {
    EXPECT_EQ(refusal(text), "") << text;
  }
}

TEST(CheckText, NamesTheEncoding) {
  const auto expect = [](const std::string& text, const std::string& encoding) {
    EXPECT_THAT(refusal(text), HasSubstr("t.txt: is text in " + encoding + ", expected UTF-8: iconv -f " + encoding));
  };
  expect("\xFF\xFE" + spread(kLetters, 0, 1), "UTF-16LE");
  expect("\xFE\xFF" + spread(kLetters, 1, 0), "UTF-16BE");
  expect("\xFF\xFE\0\0"s + spread(kLetters, 0, 3), "UTF-32LE");
  expect("\0\0\xFE\xFF"s + spread(kLetters, 3, 0), "UTF-32BE");
  expect(spread(kLetters, 0, 1), "UTF-16LE");
  expect(spread(kLetters, 1, 0), "UTF-16BE");
  expect(spread(kLetters, 0, 3), "UTF-32LE");
  expect(spread(kLetters, 3, 0), "UTF-32BE");
}

TEST(CheckText, RefusesOtherBytes) {
  EXPECT_THAT(refusal("one\ncaf\xE9 au lait\n"), HasSubstr("byte 7 (0xe9, line 2) is not valid UTF-8"));
  EXPECT_THAT(refusal("caf\xE9"), HasSubstr("byte 3"));
  EXPECT_THAT(refusal("\xBFQue?"), HasSubstr("byte 0"));
  EXPECT_THAT(refusal("caf\xC3\xA9 and caf\xE9 in one\n"), HasSubstr("not valid UTF-8"));
  EXPECT_THAT(refusal("a surrogate \xED\xA0\x80 is no character"), HasSubstr("not valid UTF-8"));
  EXPECT_THAT(refusal("text\0with a NUL in it"s), HasSubstr("byte 4 is NUL, so it is binary"));
  EXPECT_THAT(refusal("GGUF\3\0\0\0"s), HasSubstr("is a GGUF file"));
  EXPECT_THAT(refusal("\x1F\x8B\x08\0\0\0"s), HasSubstr("is compressed with gzip"));
  EXPECT_THAT(refusal("\x28\xB5\x2F\xFD\x04"), HasSubstr("is compressed with zstd"));
}

// What `head -c` and `split -b` leave of a text.
TEST(CheckText, TakesPiecesOfUtf8) {
  const std::string text = "\xE2\x82\xAC caf\xC3\xA9 \xF0\x9F\x98\x80";
  for (size_t n = 3; n <= text.size(); ++n) EXPECT_EQ(refusal(text.substr(0, n)), "") << n;
  for (size_t n = 0; n <= 10; ++n) EXPECT_EQ(refusal(text.substr(n)), "") << n;
}

TEST(ReadTextFile, DropsTheMark) {
  const test::TempFolder folder;
  write_file(folder / "t.txt", "\xEF\xBB\xBFtext");
  EXPECT_EQ(read_text_file(folder / "t.txt"), "text");
  write_file(folder / "t.txt", "\xFF\xFEt");
  EXPECT_THAT(test::error_of([&] { read_text_file(folder / "t.txt"); }), HasSubstr("t.txt: is text in UTF-16LE"));
}

TEST(RereadableText, CopiesWhatCanBeReadOnce) {
  const test::TempFolder folder;
  const std::string pipe = folder / "pipe", file = folder / "file";
  write_file(file, "text");
  EXPECT_EQ(RereadableText(file).path(), file);
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  std::thread writer([&] { std::ofstream(pipe) << "through a pipe"; });
  std::string copy;
  {
    const RereadableText text(pipe);
    writer.join();
    copy = text.path();
    for (int i = 0; i < 2; ++i) EXPECT_EQ(read_text_file(copy), "through a pipe");
  }
  EXPECT_NE(test::error_of([&] { read_text_file(copy); }), "");
  EXPECT_THAT(test::error_of([&] { RereadableText(folder / "absent"); }), HasSubstr("absent: cannot open"));
}

}  // namespace
}  // namespace steelyard
