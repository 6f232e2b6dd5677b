#include "base/edit_distance.h"

#include <gtest/gtest.h>

#include <string>

namespace steelyard {
namespace {

TEST(EditDistance, CountsEdits) {
  EXPECT_EQ(edit_distance("", ""), 0u);
  EXPECT_EQ(edit_distance("imatrix", "imatrix"), 0u);
  EXPECT_EQ(edit_distance("", "abc"), 3u);
  EXPECT_EQ(edit_distance("abc", ""), 3u);
  EXPECT_EQ(edit_distance("imatix", "imatrix"), 1u);    // a letter less
  EXPECT_EQ(edit_distance("imatrrix", "imatrix"), 1u);  // one more
  EXPECT_EQ(edit_distance("imatrax", "imatrix"), 1u);   // another
  EXPECT_EQ(edit_distance("imatrxi", "imatrix"), 1u);   // two swapped
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);
}

// "ca" to "abc" takes two edits where letters may be edited twice: swap, then put one between them.
TEST(EditDistance, NoLetterIsEditedTwice) { EXPECT_EQ(edit_distance("ca", "abc"), 3u); }

TEST(EditDistance, BothWaysAreAsLong) {
  for (const std::string a : {"", "a", "plan", "quantize"}) {
    for (const std::string b : {"b", "lpan", "quantise", "perplexity"}) {
      EXPECT_EQ(edit_distance(a, b), edit_distance(b, a)) << a << " " << b;
    }
  }
}

}  // namespace
}  // namespace steelyard
