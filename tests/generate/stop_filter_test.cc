// Stop strings and whole characters, wherever tokens end.
#include "generate/stop_filter.h"

#include <random>

#include "base/error.h"
#include "support.h"

namespace steelyard::generate {
namespace {

// What is shown of `text` when it comes in pieces, and whether a stop string ended it.
std::pair<std::string, bool> show(const std::vector<std::string>& stops, const std::vector<std::string>& pieces) {
  StopFilter filter(stops);
  std::string shown;
  for (const std::string& piece : pieces) {
    shown += filter.push(piece);
    if (filter.stopped()) return {shown, true};
  }
  return {shown + filter.finish(), false};
}

TEST(StopFilter, HoldsBackWhatMayBecomeAStopString) {
  StopFilter filter({"END"});
  EXPECT_EQ(filter.push("the E"), "the ");
  EXPECT_EQ(filter.push("N"), "");
  EXPECT_EQ(filter.push("x"), "ENx");
  EXPECT_EQ(filter.push("EEN"), "E");
  EXPECT_EQ(filter.push("D and more"), "");
  EXPECT_TRUE(filter.stopped());
  EXPECT_EQ(filter.push("more"), "");
  EXPECT_EQ(filter.finish(), "");
  EXPECT_FALSE(filter.stopped());
  EXPECT_EQ(filter.push("again EN"), "again ");
  EXPECT_EQ(filter.finish(), "EN");
}

TEST(StopFilter, FirstCompleteThenLongest) {
  using Result = std::pair<std::string, bool>;
  EXPECT_EQ(show({"abcd", "bc"}, {"xabcd"}), Result("xa", true));
  EXPECT_EQ(show({"abcd", "bc"}, {"x", "a", "b", "c", "d"}), Result("xa", true));
  EXPECT_EQ(show({"bc", "abc"}, {"xabc"}), Result("x", true));
  EXPECT_EQ(show({"abc", "bc"}, {"xabc"}), Result("x", true));
  EXPECT_EQ(show({"aab"}, {"a", "a", "a", "b", "c"}), Result("a", true));
  EXPECT_EQ(show({}, {"all", " of it"}), Result("all of it", false));
}

TEST(StopFilter, CharactersStayWhole) {
  StopFilter filter({});
  EXPECT_EQ(filter.push("a\xE4"), "a");
  EXPECT_EQ(filter.push("\xB8"), "");
  EXPECT_EQ(filter.push("\xAD\xF0\x9F"), "中");
  EXPECT_EQ(filter.push("\x99\x82!"), "🙂!");
  EXPECT_EQ(filter.push("\xC3"), "");
  EXPECT_EQ(filter.finish(), "");                                  // cut off for good
  EXPECT_EQ(filter.push("\x80\x80\x80\x80"), "\x80\x80\x80\x80");  // no character at all: let through
  EXPECT_EQ(filter.push("\xFF"), "\xFF");
}

TEST(StopFilter, StopStringsOfManyBytes) {
  StopFilter filter({"🙂"});
  EXPECT_EQ(filter.push("a\xF0\x9F"), "a");
  EXPECT_EQ(filter.push("\x99\x83"), "🙃");
  EXPECT_EQ(filter.push("b\xF0\x9F\x99"), "b");
  EXPECT_EQ(filter.push("\x82"), "");
  EXPECT_TRUE(filter.stopped());
}

TEST(StopFilter, EmptyStopString) { EXPECT_THROW(StopFilter({"a", ""}), Error); }

// However the text is cut into pieces, the same is shown, and it is what comes before the earliest end of a stop
// string.
TEST(StopFilter, PiecesMakeNoDifference) {
  std::mt19937 random(3);
  const auto word = [&](int n) {
    std::string text;
    for (int length = 1 + static_cast<int>(random() % n); length > 0; --length) {
      text += std::vector<std::string>{"a", "b", "é"}[random() % 3];
    }
    return text;
  };
  for (int round = 0; round < 2000; ++round) {
    std::vector<std::string> stops;
    for (int n = static_cast<int>(random() % 3); n > 0; --n) stops.push_back(word(4));
    const std::string text = word(20);
    std::pair<std::string, bool> expected = {text, false};
    for (size_t end = 1; end <= text.size() && !expected.second; ++end) {
      for (const std::string& stop : stops) {
        if (!text.substr(0, end).ends_with(stop)) continue;
        const std::string before = text.substr(0, end - stop.size());
        if (!expected.second || before.size() < expected.first.size()) expected = {before, true};
      }
    }
    std::vector<std::string> pieces;
    for (size_t at = 0; at < text.size();) {
      const size_t n = 1 + random() % 4;
      pieces.push_back(text.substr(at, n));
      at += n;
    }
    EXPECT_EQ(show(stops, pieces), expected) << text;
  }
}

}  // namespace
}  // namespace steelyard::generate
