// Greedy answers: those of the Generator, however many are decoded at a time.
#include "generate/greedy.h"

#include <gmock/gmock.h>

#include "generate/generator.h"
#include "gguf/reader.h"
#include "support.h"

namespace steelyard::generate {
namespace {

TEST(GreedyAnswers, AreThoseOfTheGenerator) {
  const gguf::Reader reader(test::golden("models/llama/model.gguf"));
  const auto backend = compute::make_backend("cpu");
  const model::Model model(reader, *backend);
  const tokenizer::Tokenizer tokenizer(reader.metadata());
  std::vector<std::vector<tokenizer::TokenId>> prompts;
  for (int i = 0; i < 20; ++i) prompts.push_back({1, 40 + i, 90 + 2 * i, 7});
  int64_t n_done = 0;
  const auto answers = greedy_answers(model, tokenizer, prompts, 6, [&](int64_t done) { EXPECT_EQ(done, ++n_done); });
  EXPECT_EQ(n_done, 20);
  for (const size_t i : {size_t{0}, size_t{7}, size_t{19}}) {
    Generator generator(model, tokenizer, {.n_context = 16, .sampling = {.temperature = 0}, .stops = {}});
    generator.append(prompts[i]);
    std::string text;
    generator.generate(6, [&](std::string_view piece) { text += piece; });
    EXPECT_THAT(tokenizer.decode(answers[i]), testing::StartsWith(text)) << i;  // it holds cut characters back
    EXPECT_EQ(greedy_answers(model, tokenizer, std::span(prompts).subspan(i, 1), 6)[0], answers[i]);
  }
  EXPECT_TRUE(greedy_answers(model, tokenizer, {}, 6).empty());
  EXPECT_EQ(greedy_answers(model, tokenizer, prompts, 0)[3].size(), 0u);
}

}  // namespace
}  // namespace steelyard::generate
