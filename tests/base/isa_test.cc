// Which instruction sets there are, and that one is chosen. Forcing one: tests/cli/determinism_test.cc.
#include "base/isa.h"

#include <algorithm>
#include <cstdlib>

#include "support.h"

namespace steelyard {
namespace {

TEST(Isa, ScalarIsAlwaysThereAndTheNarrowest) {
  ASSERT_FALSE(supported_isas().empty());
  EXPECT_EQ(supported_isas().back(), Isa::kScalar);
  EXPECT_TRUE(std::ranges::is_sorted(supported_isas(), std::greater()));
}

TEST(Isa, TheWidestIsChosenUnlessOneIsForced) {
  const char* forced = std::getenv("STEELYARD_ISA");
  EXPECT_EQ(isa_name(chosen_isa()), forced != nullptr ? forced : isa_name(supported_isas().front()));
}

TEST(Isa, NamesAreThoseOfTheNamespaces) {
  EXPECT_EQ(isa_name(Isa::kScalar), "scalar");
  EXPECT_EQ(isa_name(Isa::kAvx2), "avx2");
  EXPECT_EQ(isa_name(Isa::kAvx512), "avx512");
}

}  // namespace
}  // namespace steelyard
