#include "figure_limits.h"

#include <gmock/gmock.h>

#include <cmath>

#include "base/error.h"

namespace steelyard::tools {
namespace {

jobs::PerplexityResult result() {
  jobs::PerplexityResult result;
  result.perplexity = 70;
  result.divergence.emplace();
  result.divergence->mean_kld.mean = 0.03;
  result.divergence->kld.p99 = 0.5;
  result.divergence->kld.max = 4;
  return result;
}

TEST(FigureLimits, NameWhatExceedsThem) {
  EXPECT_EQ(exceeded(parse_limits({"ppl=70", "kld=0.03", "kld_p99=0.5", "kld_max=4"}), result()), "");
  EXPECT_EQ(exceeded({}, result()), "");
  EXPECT_EQ(exceeded(parse_limits({"kld=0.02"}), result()), "kld is 0.03, above 0.02");
  EXPECT_EQ(exceeded(parse_limits({"ppl=69.9", "kld=1", "kld_p99=0.4", "kld_max=0"}), result()),
            "ppl is 70, above 69.9; kld_p99 is 0.5, above 0.4; kld_max is 4, above 0");
}

TEST(FigureLimits, WhatIsNoNumberExceedsAll) {
  jobs::PerplexityResult broken = result();
  broken.perplexity = std::nan("");
  EXPECT_EQ(exceeded(parse_limits({"ppl=1e300"}), broken), "ppl is nan, above 1e+300");
}

TEST(FigureLimits, RefuseNonsense) {
  for (const char* text :
       {"", "ppl", "ppl=", "=1", "PPL=1", "ppl=x", "ppl=1x", "ppl=-1", "ppl=inf", "ppl=nan", "top=1"}) {
    EXPECT_THROW(parse_limits({text}), Error) << text;
  }
  EXPECT_THROW(parse_limits({"ppl=1", "ppl=2"}), Error);
}

TEST(FigureLimits, OfADivergenceNeedOne) {
  jobs::PerplexityOptions options;
  EXPECT_NO_THROW(check(parse_limits({"ppl=1"}), options));
  EXPECT_THROW(check(parse_limits({"kld=1"}), options), Error);
  options.self_check = true;
  EXPECT_NO_THROW(check(parse_limits({"kld=1", "kld_max=1"}), options));
  options.tokens = "ids.json";
  EXPECT_THROW(check(parse_limits({"kld=1"}), options), Error);
}

}  // namespace
}  // namespace steelyard::tools
