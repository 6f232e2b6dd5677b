#include "suggest.h"

#include <gmock/gmock.h>

#include <vector>

namespace steelyard::tools {
namespace {

const std::vector<std::string> kKnown = {"--imatrix", "--include-weights", "--threads", "--tensor-split", "-m",
                                         "--json"};

TEST(NearestWord, FindsWhatWasMeant) {
  EXPECT_EQ(nearest_word("--imatix", kKnown), "--imatrix");
  EXPECT_EQ(nearest_word("--imatrxi", kKnown), "--imatrix");
  EXPECT_EQ(nearest_word("-imatrix", kKnown), "--imatrix");
  EXPECT_EQ(nearest_word("--thread", kKnown), "--threads");
  EXPECT_EQ(nearest_word("--tensor_split", kKnown), "--tensor-split");
}

TEST(NearestWord, SaysNothingWhereNothingIsNear) {
  EXPECT_EQ(nearest_word("--frobnicate", kKnown), "");
  EXPECT_EQ(nearest_word("", kKnown), "");
  EXPECT_EQ(nearest_word("-x", kKnown), "");
  EXPECT_EQ(nearest_word(std::string(100'000, 'i'), kKnown), "");
}

}  // namespace
}  // namespace steelyard::tools
