// What is said about entries before anything is quantized with them.
#include "imatrix/coverage.h"

#include <gtest/gtest.h>

namespace steelyard::imatrix {
namespace {

TEST(Coverage, CountsExperts) {
  // Unseen, thin, zero, well covered, as many inputs as the prior weighs.
  const ImatrixEntry entry = {
      .n_in = 2, .n_expert = 5, .in_sum2 = {0, 0, 1, 1, 0, 0, 7, 0, 4, 4}, .counts = {0, 3, 100, 100, 4}};
  const Coverage result = coverage(entry, 4);
  EXPECT_EQ(result.n_expert, 5);
  EXPECT_EQ(result.unseen, 1);
  EXPECT_EQ(result.thin, 2);
  EXPECT_EQ(result.zero, 1);
  EXPECT_TRUE(result.is_known());
}

TEST(Coverage, WithoutAPriorOnlyUnseenExpertsBorrow) {
  const ImatrixEntry entry = {.n_in = 1, .n_expert = 3, .in_sum2 = {0, 1, 1}, .counts = {0, 1, 100}};
  EXPECT_EQ(coverage(entry, 0).thin, 1);
}

TEST(Coverage, DenseTensorsDoNotBorrow) {
  const Coverage thin = coverage({.n_in = 2, .n_expert = 1, .in_sum2 = {1, 1}, .counts = {2}}, 4);
  EXPECT_EQ(thin.thin, 0);
  EXPECT_TRUE(thin.is_known());
  const Coverage unseen = coverage({.n_in = 2, .n_expert = 1, .in_sum2 = {0, 0}, .counts = {0}}, 4);
  EXPECT_EQ(unseen.unseen, 1);
  EXPECT_EQ(unseen.thin, 0);
  EXPECT_EQ(unseen.zero, 0);
  EXPECT_FALSE(unseen.is_known());
  EXPECT_EQ(coverage({.n_in = 2, .n_expert = 1, .in_sum2 = {0, 0}, .counts = {9}}, 4).zero, 1);
}

}  // namespace
}  // namespace steelyard::imatrix
