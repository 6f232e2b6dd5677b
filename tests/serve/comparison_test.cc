// Side by side: a model and itself agree, and a damaged copy differs where it does.
#include "serve/comparison.h"

#include <gtest/gtest.h>

#include <cmath>

#include "model_copy.h"
#include "served.h"

namespace steelyard::serve {
namespace {

TEST(Divergence, OfTwoDistributions) {
  const std::vector<float> p = {std::log(0.5f), std::log(0.25f), std::log(0.25f)}, q = {0, 0, 0};
  EXPECT_NEAR(divergence(p, q), 0.5 * std::log(1.5) + 0.5 * std::log(0.75), 1e-6);
  EXPECT_EQ(divergence(q, q), 0);
}

TEST(Comparison, FindsWhereTwoFilesDiffer) {
  const test::TempFolder folder;
  test::ModelCopy copy(test::bundled_model());
  for (size_t i = 0; i < 256; i += 5) copy.set_value("output_norm.weight", i, 0.2f);
  copy.save(folder / "damaged.gguf");
  test::Served whole(test::bundled_model()), again(test::bundled_model()), damaged(folder / "damaged.gguf");
  const auto prompt = whole.tokenizer.encode("The king of the", false, true);

  const ComparedAnswers same = Comparison(whole.model, again.model, whole.tokenizer, 64, 2).compare(prompt, 8);
  EXPECT_FALSE(same.first_difference.has_value());
  ASSERT_EQ(same.answers[0].size(), 8u);
  for (const ComparedToken& token : same.answers[0]) {
    EXPECT_EQ(token.divergence, 0);
    EXPECT_TRUE(token.agrees());
    EXPECT_EQ(token.top[0].size(), 5u);
  }
  const ComparedAnswers apart = Comparison(whole.model, damaged.model, whole.tokenizer, 64, 2).compare(prompt, 8);
  EXPECT_GT(apart.answers[0][0].divergence, 0);
  // Up to the first difference the text is the same, and so are the distributions.
  const auto end = static_cast<size_t>(apart.first_difference.value_or(8));
  for (size_t i = 0; i < end; ++i) EXPECT_EQ(apart.answers[0][i].divergence, apart.answers[1][i].divergence);
}

}  // namespace
}  // namespace steelyard::serve
