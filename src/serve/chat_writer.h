// Answers of /v1/chat/completions: what a model says, told apart into reasoning, text and tool calls, as messages of
// OpenAI's API. Called by Server.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "chat/answer_format.h"
#include "serve/answers.h"

namespace steelyard::serve {

class ChatWriter final : public AnswerWriter {
 public:
  struct Options {
    int64_t n = 1;  ///< choices
    bool scores = false;
    const chat::AnswerFormat* format = nullptr;  ///< of the model's template
    json::Json tools = nullptr;                  ///< of the request
    std::string prompt = {};                     ///< rendered: it may have opened reasoning already
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
