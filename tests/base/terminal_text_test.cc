// What a terminal gets of foreign text, however it is cut into pieces.
#include "base/terminal_text.h"

#include <gtest/gtest.h>

#include <random>

namespace steelyard {
namespace {

std::string shown(std::string_view text) {
  TerminalText terminal;
  std::string out = terminal.push(text);
  return out + terminal.finish();
}

TEST(TerminalText, PlainTextStays) {
  for (const char* text : {"", "a line\n\tand a tab", "é 中 😀 \u00A0"}) EXPECT_EQ(shown(text), text);
}

TEST(TerminalText, ControlsAreSpelled) {
  EXPECT_EQ(shown("\x1b]0;title\x07"), "\\x1b]0;title\\x07");
  EXPECT_EQ(shown("a\rb\x7f\b"), "a\\x0db\\x7f\\x08");
  EXPECT_EQ(shown(std::string_view("\0", 1)), "\\x00");
  EXPECT_EQ(shown("\u009b31m"), "\\xc2\\x9b31m");
  EXPECT_EQ(shown("\x9b"
                  "31m"),
            "\\x9b31m");
}

TEST(TerminalText, BytesThatAreNoUtf8AreSpelled) {
  EXPECT_EQ(shown("caf\xe9 \xc0\x9b"), "caf\\xe9 \\xc0\\x9b");
  EXPECT_EQ(shown("\xe4\xb8"), "\\xe4\\xb8");
  EXPECT_EQ(shown("\xe4\xb8 a"), "\\xe4\\xb8 a");
}

TEST(TerminalText, CharactersMayEndInALaterPiece) {
  TerminalText terminal;
  EXPECT_EQ(terminal.push("a\xf0\x9f"), "a");
  EXPECT_EQ(terminal.push("\x98"), "");
  EXPECT_EQ(terminal.push("\x80z"), "😀z");
  EXPECT_EQ(terminal.push("\xc2"), "");
  EXPECT_EQ(terminal.push("\x9b"), "\\xc2\\x9b");
  EXPECT_EQ(terminal.finish(), "");
}

// No piece alone decides: cuts anywhere give the same, and no byte of it is a control.
TEST(TerminalText, CutsMakeNoDifference) {
  std::mt19937 random(5);
  const std::string_view parts[] = {"\x1b", "[31m", "é",  "中", "😀",        "\x9b",
                                    "\xc2", "\x80", "\n", "x",  "\xf0\x9f", "\x7f"};
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    for (int i = 0; i < 8; ++i) text += parts[random() % std::size(parts)];
    TerminalText terminal;
    std::string out;
    for (size_t at = 0; at < text.size();) {
      const size_t n = 1 + random() % 3;
      out += terminal.push(std::string_view(text).substr(at, n));
      at += n;
    }
    out += terminal.finish();
    EXPECT_EQ(out, shown(text));
    for (size_t i = 0; i < out.size(); ++i) {
      const auto byte = static_cast<unsigned char>(out[i]);
      EXPECT_TRUE(byte >= 0x20 || byte == '\n' || byte == '\t');
      EXPECT_NE(byte, 0x7F);
      EXPECT_FALSE(byte == 0xC2 && static_cast<unsigned char>(out[i + 1]) < 0xA0);
    }
  }
}

}  // namespace
}  // namespace steelyard
