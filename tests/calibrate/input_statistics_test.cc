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
  const HessianSums sums(1, {4, 3, 0}, {8, 4, 3, 9, 0, 0}, {});
  const SliceMeans means(sums, 0.0);
  EXPECT_THAT(means.of_slice(0).hessian, ElementsAre(2, 1));
  EXPECT_THAT(means.of_slice(1).hessian, ElementsAre(1, 3));
  EXPECT_THAT(means.of_slice(2).hessian, ElementsAre(0, 0));  // no inputs
  EXPECT_DOUBLE_EQ(means.n_inputs(0), 4.0);
}

// Pooled: (8 + 0) / 8 = 1 and (4 + 12) / 8 = 2.
TEST(SliceMeans, ThePriorCountsAsInputsWithThePooledMean) {
  const HessianSums sums(1, {4, 4, 0}, {8, 4, 0, 12, 0, 0}, {});
  const SliceMeans means(sums, 4.0);
  EXPECT_THAT(means.of_slice(0).hessian, ElementsAre(1.5f, 1.5f));
  EXPECT_THAT(means.of_slice(1).hessian, ElementsAre(0.5f, 2.5f));
  EXPECT_THAT(means.of_slice(2).hessian, ElementsAre(1, 2));  // an expert that no token chose
  EXPECT_DOUBLE_EQ(means.n_inputs(2), 4.0);
}

TEST(SliceMeans, NoSumsNoMeans) {
  const HessianSums sums(1, {4, 4}, {8, 8}, {});
  EXPECT_FALSE(SliceMeans(sums, 4.0).of_slice(1).hessian.empty());
  EXPECT_TRUE(SliceMeans(sums, 4.0).of_slice(1).cross_covariance.empty());
  EXPECT_TRUE(SliceMeans(sums, 0.0).of_slice(0).cross_covariance.empty());
}

}  // namespace
}  // namespace steelyard::calibrate
