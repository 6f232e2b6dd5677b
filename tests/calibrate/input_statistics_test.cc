// Means of slices and damping, worked out by hand.
#include "calibrate/input_statistics.h"

#include <gmock/gmock.h>

namespace steelyard::calibrate {
namespace {

using testing::ElementsAre;

TEST(DampingSchedule, GrowsAsInputsGetFewer) {
  const DampingSchedule damping{0.1, 2.0};
  EXPECT_DOUBLE_EQ(damping.at(64, 1280.0), 0.2);
  EXPECT_DOUBLE_EQ(damping.at(64, 64.0), 2.1);
  EXPECT_DOUBLE_EQ(damping.at(64, 0.0), 0.1);  // nothing to divide by, and nothing to damp
}

TEST(SliceMeans, WithoutAPriorEachSliceHasItsOwn) {
  const std::vector<float> sums = {8, 4, 3, 9, 0, 0};
  const std::vector<int64_t> counts = {4, 3, 0};
  const SliceMeans means(sums, counts, 0.0);
  EXPECT_THAT(means.of_slice(0), ElementsAre(2, 1));
  EXPECT_THAT(means.of_slice(1), ElementsAre(1, 3));
  EXPECT_THAT(means.of_slice(2), ElementsAre(0, 0));  // no inputs
  EXPECT_DOUBLE_EQ(means.n_inputs(0), 4.0);
}

// Pooled: (8 + 0) / 8 = 1 and (4 + 12) / 8 = 2.
TEST(SliceMeans, ThePriorCountsAsInputsWithThePooledMean) {
  const std::vector<float> sums = {8, 4, 0, 12, 0, 0};
  const std::vector<int64_t> counts = {4, 4, 0};
  const SliceMeans means(sums, counts, 4.0);
  EXPECT_THAT(means.of_slice(0), ElementsAre(1.5f, 1.5f));
  EXPECT_THAT(means.of_slice(1), ElementsAre(0.5f, 2.5f));
  EXPECT_THAT(means.of_slice(2), ElementsAre(1, 2));  // an expert that no token chose
  EXPECT_DOUBLE_EQ(means.n_inputs(2), 4.0);
}

TEST(SliceMeans, NoSumsNoMeans) {
  const std::vector<float> sums;
  const std::vector<int64_t> counts = {4, 4};
  EXPECT_TRUE(SliceMeans(sums, counts, 4.0).of_slice(1).empty());
  EXPECT_TRUE(SliceMeans(sums, counts, 0.0).of_slice(0).empty());
}

}  // namespace
}  // namespace steelyard::calibrate
