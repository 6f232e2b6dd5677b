// Loops of every period, how much of them is superfluous, and what only looks like one.
#include "generate/repetition.h"

#include <gtest/gtest.h>

#include <random>

namespace steelyard::generate {
namespace {

using Ids = std::vector<tokenizer::TokenId>;

// How many of `ids` were read when a loop was found (all if none was), and how many of them are superfluous.
struct Found {
  size_t at = 0;
  int64_t superfluous = 0;
  bool operator==(const Found&) const = default;
};
std::ostream& operator<<(std::ostream& out, const Found& found) {
  return out << found.superfluous << " superfluous after " << found.at;
}

Found push(RepetitionDetector& detector, const Ids& ids) {
  Found found;
  for (const tokenizer::TokenId id : ids) {
    ++found.at;
    found.superfluous = detector.push(id);
    if (found.superfluous != 0) break;
  }
  return found;
}
Found push(const Ids& ids) {
  RepetitionDetector detector;
  return push(detector, ids);
}

// A text that begins with 5 other tokens and then goes round in a loop.
Ids looping(int64_t period, int64_t n) {
  Ids ids = {900, 901, 902, 903, 904};
  for (int64_t i = 0; i < n; ++i) ids.push_back(static_cast<tokenizer::TokenId>(i % period));
  return ids;
}

// A short loop is found after 32 tokens that repeat, a longer one after three rounds that do; two rounds stay.
TEST(RepetitionDetector, LoopsOfEveryPeriod) {
  EXPECT_EQ(push(looping(1, 1000)), (Found{5 + 33, 31}));
  EXPECT_EQ(push(looping(2, 1000)), (Found{5 + 34, 30}));
  EXPECT_EQ(push(looping(7, 1000)), (Found{5 + 39, 25}));
  EXPECT_EQ(push(looping(10, 1000)), (Found{5 + 42, 22}));
  EXPECT_EQ(push(looping(11, 1000)), (Found{5 + 44, 22}));
  EXPECT_EQ(push(looping(64, 1000)), (Found{5 + 256, 128}));
  EXPECT_EQ(push(looping(65, 1000)), (Found{1005, 0}));
  for (int64_t period = 1; period <= RepetitionDetector::kMaxPeriod; ++period) {
    const Ids ids = looping(period, 1000);
    const auto [at, superfluous] = push(ids);
    EXPECT_EQ(static_cast<int64_t>(at) - superfluous, 5 + 2 * period);
    // One token less is no loop yet.
    EXPECT_EQ(push({ids.begin(), ids.begin() + static_cast<int64_t>(at) - 1}).superfluous, 0) << period;
  }
}

// The period is that of the whole, however its tokens repeat within a round.
TEST(RepetitionDetector, TokensMayRepeatWithinARound) {
  Ids ids;
  for (int i = 0; i < 100; ++i) ids.insert(ids.end(), {1, 1, 1, 2});
  EXPECT_EQ(push(ids), (Found{36, 28}));
}

TEST(RepetitionDetector, TwoRepeatsAreNoLoop) {
  Ids passage;
  for (tokenizer::TokenId id = 0; id < 40; ++id) passage.push_back(id);
  Ids text;
  for (int i = 0; i < 3; ++i) text.insert(text.end(), passage.begin(), passage.end());
  Ids other = text;
  for (tokenizer::TokenId id = 100; id < 200; ++id) other.push_back(id);
  EXPECT_EQ(push(other), (Found{220, 0}));
  text.insert(text.end(), passage.begin(), passage.end());
  EXPECT_EQ(push(text), (Found{160, 80}));  // but three are
}

// What interrupts a loop makes it begin anew.
TEST(RepetitionDetector, InterruptedLoops) {
  Ids ids(32, 7);
  ids.push_back(8);
  ids.insert(ids.end(), 32, 7);
  EXPECT_EQ(push(ids), (Found{65, 0}));
  ids.push_back(7);
  EXPECT_EQ(push(ids), (Found{66, 31}));
}

// Rows alike but for one cell, whose values follow each other or are a few in no order.
TEST(RepetitionDetector, TablesAreNoLoops) {
  Ids counted, judged;
  std::mt19937 random(5);
  for (tokenizer::TokenId row = 0; row < 200; ++row) {
    counted.insert(counted.end(), {1, 2, 3, 100 + row, 4, 5, 6});
    judged.insert(judged.end(), {1, 2, 3, 100 + static_cast<tokenizer::TokenId>(random() % 10), 4, 5, 6});
  }
  EXPECT_EQ(push(counted), (Found{1400, 0}));
  EXPECT_EQ(push(judged), (Found{1400, 0}));
}

TEST(RepetitionDetector, FewDifferentTokensAreNoLoop) {
  std::mt19937 random(1);
  Ids ids(20000);
  for (tokenizer::TokenId& id : ids) id = static_cast<tokenizer::TokenId>(random() % 3);
  EXPECT_EQ(push(ids), (Found{20000, 0}));
}

TEST(RepetitionDetector, ClearForgetsTheText) {
  RepetitionDetector detector;
  EXPECT_EQ(push(detector, Ids(32, 7)), (Found{32, 0}));
  detector.clear();
  EXPECT_EQ(push(detector, Ids(32, 7)), (Found{32, 0}));
  EXPECT_EQ(detector.push(7), 31);
  // Neither do counts remain of what was longer than the new text.
  detector.clear();
  EXPECT_EQ(push(detector, looping(64, 255)), (Found{260, 0}));
  detector.clear();
  EXPECT_EQ(push(detector, looping(64, 255)), (Found{260, 0}));
  EXPECT_EQ(detector.push(255 % 64), 128);
}

}  // namespace
}  // namespace steelyard::generate
