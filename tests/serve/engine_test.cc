// Texts through the engine: what `run` gives, whatever is beside them; beginnings that are used again; who waits, who
// hangs up.
#include "serve/engine.h"

#include <gmock/gmock.h>

#include <numeric>

#include "golden_models.h"
#include "served.h"

namespace steelyard::serve {
namespace {

using test::Served;
using Ids = Served::Ids;

Ids prompt(int which, size_t n) {
  Ids ids;
  for (size_t i = 0; i < n; ++i) ids.push_back(static_cast<tokenizer::TokenId>((37 * which + 11 * i + 5) % 250));
  return ids;
}

// One after the other, all at once, and once more when their beginnings are known.
void expect_as_run(Served& served, const std::vector<Ids>& prompts, int64_t n) {
  std::vector<std::string> expected;
  for (const Ids& ids : prompts) expected.push_back(served.run_text(ids, n));
  for (size_t i = 0; i < prompts.size(); ++i) {
    const auto channel = std::make_shared<Channel>();
    ASSERT_TRUE(served.engine->submit({served.request(prompts[i], n, channel)}));
    EXPECT_EQ(Served::collect(*channel, 1)[0].text, expected[i]) << "alone, prompt " << i;
  }
  for (int round = 0; round < 2; ++round) {
    const auto channel = std::make_shared<Channel>();
    std::vector<TextRequest> requests;
    for (size_t i = 0; i < prompts.size(); ++i)
      requests.push_back(served.request(prompts[i], n, channel, static_cast<int64_t>(i)));
    ASSERT_TRUE(served.engine->submit(std::move(requests)));
    const auto answers = Served::collect(*channel, prompts.size());
    for (size_t i = 0; i < prompts.size(); ++i) EXPECT_EQ(answers[i].text, expected[i]) << "together, prompt " << i;
  }
}

TEST(Engine, AnswersAreThoseOfRun) {
  Served served(test::bundled_model(), {.n_slots = 9, .n_context = 600});
  // The shortest ones, one that ends alone in run()'s batches, and those that share a beginning.
  std::vector<Ids> prompts = {prompt(1, 1), prompt(2, 2), prompt(3, 3), prompt(4, 129), prompt(5, 513), prompt(6, 300)};
  for (const size_t more : {1, 20, 90}) {
    prompts.push_back(prompts[5]);
    const Ids rest = prompt(7, more);
    prompts.back().insert(prompts.back().end(), rest.begin(), rest.end());
  }
  expect_as_run(served, prompts, 12);
}

TEST(Engine, InEveryArchitecture) {
  for (const std::string& name : test::golden_models()) {
    SCOPED_TRACE(name);
    const std::string path = test::golden("models/" + name + "/model.gguf");
    Served served(path, {.n_slots = 3, .n_context = 32});
    expect_as_run(served, {prompt(1, 7), prompt(2, 2), prompt(1, 9), prompt(3, 1), prompt(1, 7)}, 5);
  }
}

TEST(Engine, ABeginningIsComputedOnce) {
  Served served(test::bundled_model(), {.n_slots = 3, .n_context = 256});
  const Ids begin = prompt(1, 150);
  const auto ask = [&](size_t n_texts, const Ids& rest) {
    const auto channel = std::make_shared<Channel>();
    Ids ids = begin;
    ids.insert(ids.end(), rest.begin(), rest.end());
    std::vector<TextRequest> requests;
    for (size_t i = 0; i < n_texts; ++i) requests.push_back(served.request(ids, 3, channel, static_cast<int64_t>(i)));
    EXPECT_TRUE(served.engine->submit(std::move(requests)));
    return Served::collect(*channel, n_texts);
  };
  const auto first = ask(3, prompt(2, 10));  // together, in slots of their own
  EXPECT_EQ(first[0].usage.prompt, 160);
  EXPECT_EQ(first[0].usage.cached, 0);
  EXPECT_EQ(first[1].usage.cached, 158);  // the last two rows are computed
  EXPECT_EQ(first[2].usage.cached, 158);
  EXPECT_EQ(first[1].text, first[0].text);
  EXPECT_EQ(ask(1, prompt(3, 30))[0].usage.cached, 150);
  EXPECT_EQ(ask(1, {})[0].usage.cached, 148);
  // What an answer appended is computed again.
  Ids whole = prompt(2, 10);
  whole.insert(whole.end(), first[0].ids.begin(), first[0].ids.end());
  whole.push_back(7);
  EXPECT_EQ(ask(1, whole)[0].usage.cached, 160);
}

TEST(Engine, Endings) {
  Served served(test::bundled_model(), {.n_slots = 2, .n_context = 40});
  const auto channel = std::make_shared<Channel>();
  const Ids ids = served.tokenizer.encode("The king", false, true);
  const std::string text = served.run_text(ids, 12);
  TextRequest stopped = served.request(ids, 12, channel, 1);
  stopped.stops = {text.substr(3, 4)};
  ASSERT_TRUE(served.engine->submit(
      {served.request(ids, 12, channel), std::move(stopped), served.request(ids, 1000, channel, 2)}));
  const auto answers = Served::collect(*channel, 3);
  EXPECT_EQ(answers[0].finish, generate::FinishReason::kTokens);
  EXPECT_EQ(answers[0].usage.generated, 12);
  EXPECT_EQ(answers[1].finish, generate::FinishReason::kStopString);
  EXPECT_EQ(answers[1].text, text.substr(0, 3));
  if (answers[2].finish != generate::FinishReason::kEndOfGeneration) {
    EXPECT_EQ(answers[2].finish, generate::FinishReason::kContext);
    EXPECT_EQ(answers[2].usage.prompt + answers[2].usage.generated, 40);
  }
}

TEST(Engine, ScoresOfPromptAndAnswer) {
  Served served(test::bundled_model());
  for (const size_t n : {1, 2, 150}) {
    const auto channel = std::make_shared<Channel>();
    const Ids ids = prompt(3, n);
    TextRequest scored = served.request(ids, 2, channel), only = served.request(ids, 0, channel, 1);
    scored.score_prompt = only.score_prompt = true;
    scored.n_top = 3;
    ASSERT_TRUE(served.engine->submit({std::move(scored), std::move(only)}));
    const auto answers = Served::collect(*channel, 2);
    for (const auto& answer : answers) {
      ASSERT_EQ(answer.prompt.size(), n);
      EXPECT_FALSE(answer.prompt[0].scored);
      for (size_t i = 1; i < n; ++i) {
        EXPECT_EQ(answer.prompt[i].token.id, ids[i]);
        EXPECT_LT(answer.prompt[i].token.logprob, 0);
      }
    }
    EXPECT_EQ(answers[0].tokens.size(), 2u);
    EXPECT_EQ(answers[0].tokens[0].top.size(), 3u);
    EXPECT_EQ(answers[0].tokens[0].top[0].id, answers[0].tokens[0].token.id);  // it is greedy
    EXPECT_TRUE(answers[1].tokens.empty());
    EXPECT_EQ(answers[1].usage.generated, 0);
  }
}

TEST(Engine, QueueIsBoundedAndCancelledTextsLeave) {
  Served served(test::bundled_model(), {.n_slots = 1, .n_context = 4096, .most_waiting = 2});
  const auto endless = std::make_shared<Channel>(), waiting = std::make_shared<Channel>();
  TextRequest request = served.request(prompt(1, 4), 4000, endless);
  request.sampling = {.temperature = 1.5, .seed = 3};
  ASSERT_TRUE(served.engine->submit({std::move(request)}));
  while (!endless->next(std::chrono::seconds(60))) {
  }
  EXPECT_TRUE(
      served.engine->submit({served.request(prompt(2, 4), 2, waiting), served.request(prompt(2, 4), 2, waiting, 1)}));
  EXPECT_FALSE(served.engine->submit({served.request(prompt(2, 4), 2, waiting)}));
  EXPECT_EQ(served.engine->figures().waiting, 2);
  endless->cancel();
  EXPECT_EQ(Served::collect(*waiting, 2)[1].usage.generated, 2);
  EXPECT_EQ(served.engine->figures().cancelled, 1);
}

TEST(Engine, EndsWithTextsInIt) {
  Served served(test::bundled_model(), {.n_slots = 1, .n_context = 4096});
  const auto channel = std::make_shared<Channel>();
  ASSERT_TRUE(served.engine->submit(
      {served.request(prompt(1, 4), 4000, channel), served.request(prompt(2, 4), 9, channel, 1)}));
  served.engine.reset();
  const auto answers = Served::collect(*channel, 2);
  EXPECT_EQ(answers[1].error, "the server stops");
}

}  // namespace
}  // namespace steelyard::serve
