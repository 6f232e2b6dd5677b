// Answers of /v1/chat/completions: what a model says, told apart into reasoning, text and tool calls, as messages of
// OpenAI's API. Called by Server.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "serve/answers.h"

namespace steelyard::serve {

class ChatWriter final : public AnswerWriter {
 public:
  struct Options {
    int64_t n = 1;  ///< choices
    bool scores = false;
    bool in_reasoning = false;  ///< the prompt ends where reasoning has begun
  };
  ChatWriter(AnswerHead head, const tokenizer::Tokenizer& tokenizer, Options options);
  ~ChatWriter() override;

  std::vector<json::Json> take(const Event& event) override;
  json::Json whole() const override;
  json::Json usage_chunk() const override;

 private:
  struct Choice;
  json::Json answer(const char* object, json::Json choices) const;

  const AnswerHead head_;
  const tokenizer::Tokenizer& tokenizer_;
  const Options options_;
  std::vector<std::unique_ptr<Choice>> choices_;
  UsageSum usage_;
};

}  // namespace steelyard::serve
