// The job chat: messages become prompts through a template, commands of lines, what stays in the cache; run --chat.
#include "jobs/chat.h"

#include <gmock/gmock.h>

#include <filesystem>

#include "base/atomic_file.h"
#include "base/text_file.h"
#include "error_of.h"
#include "json/json.h"
#include "support.h"

namespace steelyard::jobs {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Has no reasoning, and says what it was given.
constexpr const char* kPlain =
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}";

class ChatJob : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists("/usr/lib/python3/dist-packages/jinja2"))
      GTEST_SKIP() << "python3-jinja2 is not installed";
    options_.model.model = std::string(STEELYARD_SOURCE_DIR) + "/tests/models/glm-flash-tiny-bf16.gguf";
    use_template(kPlain);
    options_.n_predict = 8;
    options_.sampling.temperature = 0;
  }

  void use_template(const std::string& text) {
    options_.shaped.chat_template = folder_ / "t.jinja";
    write_file(options_.shaped.chat_template, text);
  }

  static ReadLine lines(std::vector<std::string> said) {
    return [said = std::move(said), next = size_t{0}]() mutable {
      return next < said.size() ? std::optional(said[next++]) : std::nullopt;
    };
  }

  ChatResult talk(std::vector<std::string> said, const std::function<bool()>& interrupted = {}) {
    notes_.clear();
    shown_.clear();
    return chat(
        options_,
        [&](const Progress& progress) {
          if (progress.stage == "note") notes_.push_back(progress.data.get<std::string>());
          if (progress.stage == "text") shown_ += progress.data.get<std::string>();
        },
        lines(std::move(said)), interrupted);
  }

  // "role: content" of each message.
  static std::vector<std::string> messages(const ChatResult& result) {
    std::vector<std::string> texts;
    for (const auto& message : json::parse_json(result.messages))
      texts.push_back(message.at("role").get<std::string>() + ": " + message.at("content").get<std::string>());
    return texts;
  }

  const test::TempFolder folder_;
  ChatOptions options_;
  std::vector<std::string> notes_;
  std::string shown_;
};

TEST_F(ChatJob, LinesAreAnswered) {
  const ChatResult result = talk({"The king", "And then"});
  EXPECT_EQ(result.answers, 2);
  EXPECT_EQ(result.finish_reason, "tokens");
  EXPECT_EQ(result.generation.tokens, 16);
  const auto said = messages(result);
  ASSERT_EQ(said.size(), 4u);
  EXPECT_EQ(said[0], "user: The king");
  EXPECT_EQ(said[2], "user: And then");
  EXPECT_EQ(said[3], "assistant: " + result.text);
  EXPECT_FALSE(result.text.empty());
  EXPECT_THAT(shown_, testing::EndsWith(result.text));
}

TEST_F(ChatJob, APromptIsNoCommand) {
  options_.prompt = "/exit";
  EXPECT_THAT(messages(talk({})), ElementsAre("user: /exit", testing::StartsWith("assistant: ")));
}

// An answer in a conversation is the same as without a cache that holds its beginning.
TEST_F(ChatJob, WhatTheCacheHoldsDoesNotChangeAnAnswer) {
  const ChatResult both = talk({"The king", "And then"});
  EXPECT_GT(both.reused, 0);
  // Says the whole conversation in one prompt.
  const auto said = messages(both);
  use_template("<|user|>\nThe king<|assistant|>\n" + said[1].substr(11) + "<|user|>\nAnd then<|assistant|>{{ '\\n' }}");
  const ChatResult whole = talk({"And then"});
  EXPECT_EQ(whole.reused, 0);
  EXPECT_EQ(whole.text, both.text);
}

// A template that leaves earlier answers out: the next prompt goes on from before the last one.
TEST_F(ChatJob, ACacheIsTakenBack) {
  use_template(
      "A long beginning that every prompt has.{% for m in messages if m.role == 'user' %}<|user|>\n{{ m.content }}"
      "{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}");
  const ChatResult first = talk({"The king"});
  const ChatResult both = talk({"The king", "And then"});
  // All of the first prompt but what opens its answer.
  EXPECT_GE(both.reused, first.prompt.tokens - 2);
  EXPECT_LT(both.reused, first.prompt.tokens + 1);
}

TEST_F(ChatJob, Commands) {
  const std::string saved = folder_ / "saved.json";
  const ChatResult result = talk({"/regen", "/system Be brief.", "The king", "/regen", "/save " + saved, "/save",
                                  "/save " + (folder_ / "no/where"), "/unknown", "", "/exit", "never said"});
  EXPECT_EQ(result.answers, 2);
  EXPECT_THAT(messages(result), ElementsAre("system: Be brief.", "user: The king", "assistant: " + result.text));
  EXPECT_THAT(notes_, ElementsAre("there is no answer yet", "saved", "/save FILE", HasSubstr("no/where"),
                                  HasSubstr("/regen: another answer")));
  EXPECT_EQ(json::parse_json(read_text_file(saved)).at("messages").size(), 3u);
}

TEST_F(ChatJob, AnInterruptedAnswerStays) {
  int tokens = 0;
  const ChatResult result = talk({"The king"}, [&] { return ++tokens == 3; });
  EXPECT_EQ(result.finish_reason, "interrupted");
  EXPECT_EQ(result.generation.tokens, 3);
  EXPECT_EQ(messages(result).size(), 2u);
}

TEST_F(ChatJob, AStopStringEndsAnAnswer) {
  const std::string text = talk({"The king"}).text;
  options_.stop = {text.substr(3, 4)};
  const ChatResult result = talk({"The king"});
  EXPECT_EQ(result.finish_reason, "stop");
  EXPECT_EQ(result.text, text.substr(0, 3));
}

TEST_F(ChatJob, RunAsksOneQuestion) {
  const ChatResult said = talk({"The king"});
  RunOptions options{.model = options_.model,
                     .prompt = "The king",
                     .chat = true,
                     .shaped = options_.shaped,
                     .n_predict = 8,
                     .sampling = options_.sampling};
  const RunResult result = run(options);
  EXPECT_EQ(result.text, said.text);
  EXPECT_EQ(result.finish_reason, "tokens");
  EXPECT_EQ(result.context, said.context);
  EXPECT_EQ(result.prompt.tokens, said.prompt.tokens);
  options.no_special = true;
  EXPECT_THAT(test::error_of([&] { run(options); }), HasSubstr("--no-special: no effect with --chat"));
  options.no_special = options.chat = false;
  EXPECT_THAT(test::error_of([&] { run(options); }), HasSubstr("--chat-template: no effect without --chat"));
  options = {.model = options_.model, .chat = true};
  EXPECT_THAT(test::error_of([&] { run(options); }), HasSubstr("the prompt is empty"));
}

TEST_F(ChatJob, WhatDoesNotFitIsOneLine) {
  options_.ctx_size = 8;
  EXPECT_THAT(test::error_of([&] { talk({"The king of the hill and all of his men"}); }),
              HasSubstr("fills the context"));
  options_.ctx_size = 0;
  use_template("{{ raise_exception('never') }}");
  EXPECT_THAT(test::error_of([&] { talk({"The king"}); }), HasSubstr("never"));
}

}  // namespace
}  // namespace steelyard::jobs
