#include "plan/plan_names.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <set>

#include "formats/format.h"
#include "support.h"

namespace steelyard::plan {
namespace {

const std::string kPlans = std::string(STEELYARD_SOURCE_DIR) + "/plans";

TEST(PlanNames, Presets) {
  const std::vector<std::string> names = preset_names(kPlans);
  EXPECT_THAT(names, testing::IsSupersetOf({"IQ1_S", "Q4_K_M", "Q8_0"}));
  EXPECT_TRUE(std::ranges::is_sorted(names));
  EXPECT_THAT(preset_names(kPlans + "/absent"), testing::IsEmpty());
}

TEST(PlanNames, NumbersOfLlamaQuantize) {
  EXPECT_EQ(file_type_name("0"), "F32");
  EXPECT_EQ(file_type_name("2"), "Q4_0");
  EXPECT_EQ(file_type_name("7"), "Q8_0");
  EXPECT_EQ(file_type_name("15"), "Q4_K_M");
  EXPECT_EQ(file_type_name("38"), "MXFP4_MOE");
  for (const char* none : {"", "4", "33", "-1", "+7", "7 ", " 7", "7x", "99999999999", "Q8_0"}) {
    EXPECT_EQ(file_type_name(none), "") << none;
  }
}

// Each number names a plan of its own, and each plan that llama-quantize knows has one.
TEST(PlanNames, EveryNumberHasAPreset) {
  std::set<std::string> numbered;
  for (int number = 0; number < 100; ++number) {
    const std::string name(file_type_name(std::to_string(number)));
    EXPECT_TRUE(name.empty() || numbered.insert(name).second) << name;
  }
  const std::vector<std::string> presets = preset_names(kPlans);
  EXPECT_EQ(numbered, std::set<std::string>(presets.begin(), presets.end()));
}

}  // namespace
}  // namespace steelyard::plan
