// The list of targets and the choice among them.
#include "simd/target.h"

#include <algorithm>
#include <cstdlib>
#include <functional>

#include "support.h"

namespace steelyard::simd {
namespace {

TEST(Target, ScalarIsAlwaysThereAndTheNarrowest) {
  ASSERT_FALSE(supported_targets().empty());
  EXPECT_EQ(supported_targets().back(), Target::kScalar);
  EXPECT_TRUE(std::ranges::is_sorted(supported_targets(), std::greater()));
}

TEST(Target, TheWidestIsChosenUnlessOneIsForced) {
  const char* forced = std::getenv("STEELYARD_ISA");
  EXPECT_EQ(target_name(chosen_target()), forced != nullptr ? forced : target_name(supported_targets().front()));
}

// The target whose encoders another target runs must be one that every processor with the other target supports.
TEST(Target, EncodersAreThoseOfATargetThatIsNoWider) {
  for (const Target target : supported_targets()) {
    EXPECT_LE(encoder_target(target), target);
    EXPECT_TRUE(std::ranges::find(supported_targets(), encoder_target(target)) != supported_targets().end());
    EXPECT_EQ(encoder_target(encoder_target(target)), encoder_target(target));
  }
}

}  // namespace
}  // namespace steelyard::simd
