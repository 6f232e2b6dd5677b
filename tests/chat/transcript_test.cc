// Conversations from a file, and who has written which of their tokens.
#include "chat/transcript.h"

#include <gmock/gmock.h>

#include <filesystem>

#include "chat/small_chat.h"
#include "error_of.h"

namespace steelyard::chat {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

// As Qwen's: ChatML, and reasoning only after the last question.
constexpr const char* kChat =
    "{% set ns = namespace(last=0) %}"
    "{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.reasoning_content and loop.index0 > ns.last %}<think>{{ m.reasoning_content }}</think>{% endif %}"
    "{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

// The tokens of each role in turn, as text.
std::vector<std::string> stretches(const Transcript& transcript, const tokenizer::Tokenizer& tokenizer) {
  std::vector<std::string> found;
  for (size_t i = 0; i < transcript.ids.size(); ++i) {
    if (i == 0 || transcript.roles[i] != transcript.roles[i - 1]) {
      found.push_back(std::string(name(transcript.roles[i])) + ": ");
    }
    found.back() += tokenizer.decode(std::span(&transcript.ids[i], 1), /*special=*/true);
  }
  return found;
}

class Transcripts : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists("/usr/lib/python3/dist-packages/jinja2")) {
      GTEST_SKIP() << "python3-jinja2 is not installed";
    }
  }
  std::vector<Transcript> read(const Json& messages) const {
    const Template chat({.where = "t.jinja", .text = kChat, .tool_use = ""}, &tokenizer_);
    return transcripts(chat, tokenizer_, Conversation{messages, nullptr, nullptr});
  }
  const tokenizer::Tokenizer tokenizer_ = chat_tokenizer();
};

TEST_F(Transcripts, SayWhoHasWrittenWhat) {
  const auto found = read({{{"role", "system"}, {"content", "Be brief."}},
                           {{"role", "user"}, {"content", " Hi "}},
                           {{"role", "assistant"}, {"content", "Hello"}},
                           {{"role", "tool"}, {"content", "7"}},
                           {{"role", "assistant"}, {"content", "Seven"}}});
  ASSERT_EQ(found.size(), 1u);
  EXPECT_THAT(
      stretches(found[0], tokenizer_),
      ElementsAre("template: <|im_start|>system\n", "system: Be brief.", "template: <|im_end|>\n<|im_start|>user\n ",
                  "user: Hi", "template:  <|im_end|>\n<|im_start|>assistant\n", "assistant: Hello<|im_end|>",
                  "template: \n<|im_start|>tool\n", "tool: 7", "template: <|im_end|>\n<|im_start|>assistant\n",
                  "assistant: Seven<|im_end|>", "template: \n"));
}

TEST_F(Transcripts, ReasoningThatTheWholeHasDroppedIsInOneOfItsOwn) {
  const auto found = read({{{"role", "user"}, {"content", "1+1?"}},
                           {{"role", "assistant"}, {"reasoning_content", "one more"}, {"content", "2"}},
                           {{"role", "user"}, {"content", "sure?"}},
                           {{"role", "assistant"}, {"reasoning_content", "check"}, {"content", "yes"}}});
  ASSERT_EQ(found.size(), 2u);
  EXPECT_THAT(stretches(found[0], tokenizer_),
              ElementsAre("template: <|im_start|>user\n", "user: 1+1?",
                          "template: <|im_end|>\n<|im_start|>assistant\n2<|im_end|>\n<|im_start|>user\n", "user: sure?",
                          "template: <|im_end|>\n<|im_start|>assistant\n",
                          "assistant: <think>check</think>yes<|im_end|>", "template: \n"));
  EXPECT_THAT(stretches(found[1], tokenizer_),
              ElementsAre("repeated: <|im_start|>user\n1+1?<|im_end|>\n<|im_start|>assistant\n",
                          "assistant: <think>one more</think>2<|im_end|>"));
}

TEST_F(Transcripts, WhatAUserWritesIsNoControlToken) {
  const auto found = read({{{"role", "user"}, {"content", "<|im_end|>"}}});
  EXPECT_EQ(std::ranges::count(found[0].ids, kEnd), 1);
}

TEST(Conversations, AreLines) {
  const auto found = parse_conversations(
      "{\"messages\": [{\"role\": \"user\", \"content\": null}], \"id\": 7}\n\n"
      "{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"a\"}]}], \"tools\": []}",
      "c.jsonl");
  ASSERT_EQ(found.size(), 2u);
  EXPECT_TRUE(found[0].tools.is_null());
  EXPECT_TRUE(texts(found[0].messages[0]).empty());
  EXPECT_THAT(texts(found[1].messages[0]), ElementsAre("a"));
}

TEST(Conversations, OthersAreRefused) {
  const auto refusal = [](const std::string& text) {
    return test::error_of([&] { parse_conversations(text, "c.jsonl"); });
  };
  EXPECT_THAT(refusal(""), HasSubstr("c.jsonl: has no conversations"));
  EXPECT_THAT(refusal("{\"messages\": [{\"role\": \"user\"}]}\n{"), StartsWith("c.jsonl: line 2"));
  for (const char* const line :
       {"7", "[]", "{}", "{\"messages\": []}", "{\"messages\": [7]}", "{\"messages\": [{\"content\": \"a\"}]}",
        "{\"messages\": [{\"role\": \"user\", \"content\": 7}]}",
        "{\"messages\": [{\"role\": \"user\"}], \"tools\": 1}",
        "{\"messages\": [{\"role\": \"user\"}], \"chat_template_kwargs\": []}"}) {
    EXPECT_THAT(refusal(line), StartsWith("c.jsonl: line 1")) << line;
  }
}

}  // namespace
}  // namespace steelyard::chat
