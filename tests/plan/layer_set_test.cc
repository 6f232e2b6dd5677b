// Layer sets of plans, against lists written out by hand.
#include "plan/layer_set.h"

#include <gtest/gtest.h>

#include <vector>

namespace steelyard::plan {
namespace {

std::vector<int64_t> members(const std::string& text, int64_t n_layers) {
  const LayerSet set = LayerSet::parse(text, "test");
  std::vector<int64_t> layers;
  for (int64_t layer = 0; layer < n_layers; ++layer) {
    if (set.contains(layer, n_layers)) layers.push_back(layer);
  }
  return layers;
}

using List = std::vector<int64_t>;

TEST(LayerSet, NumbersAndRanges) {
  EXPECT_EQ(members("0-4,46", 47), (List{0, 1, 2, 3, 4, 46}));
  EXPECT_EQ(members(" 3 , 1 - 2 ", 8), (List{1, 2, 3}));
  EXPECT_EQ(members("5", 4), List{});
  EXPECT_EQ(members("-1", 4), List{3});
  EXPECT_EQ(members("-4", 4), List{0});
  EXPECT_EQ(members("-5", 4), List{});
}

TEST(LayerSet, SlicesAreHalfOpen) {
  EXPECT_EQ(members("2:5", 8), (List{2, 3, 4}));
  EXPECT_EQ(members(":3", 8), (List{0, 1, 2}));
  EXPECT_EQ(members("6:", 8), (List{6, 7}));
  EXPECT_EQ(members("-2:", 8), (List{6, 7}));
  EXPECT_EQ(members("-4:", 2), (List{0, 1}));
  EXPECT_EQ(members(":-6", 8), (List{0, 1}));
  EXPECT_EQ(members("1::3", 8), (List{1, 4, 7}));
  EXPECT_EQ(members("::4", 8), (List{0, 4}));
}

TEST(LayerSet, FractionsRoundDown) {
  EXPECT_EQ(members(":1/8", 47), (List{0, 1, 2, 3, 4}));
  EXPECT_EQ(members("7/8:", 47), (List{41, 42, 43, 44, 45, 46}));
  EXPECT_EQ(members("1/2", 9), List{4});
  EXPECT_EQ(members("7/8-1:7/8+1", 16), (List{13, 14}));
  EXPECT_EQ(members(":1/8", 4), List{});
  EXPECT_EQ(members(":1/1", 3), (List{0, 1, 2}));
  EXPECT_EQ(members("1/8+2::3", 16), (List{4, 7, 10, 13}));
}

}  // namespace
}  // namespace steelyard::plan
