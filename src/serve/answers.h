// Answers in the shapes of OpenAI's API, whole or in chunks of a stream, made of the engine's events. A writer belongs
// to one request, with all its choices. Called by Server.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "json/json.h"
#include "serve/comparison.h"
#include "serve/text_request.h"
#include "tokenizer/tokenizer.h"

namespace steelyard::serve {

/// What every answer says of itself.
struct AnswerHead {
  std::string id;
  int64_t created = 0;  ///< seconds since 1970
  std::string model;
};

/// A new one: "cmpl-" and a random name.
AnswerHead make_head(std::string_view prefix, const std::string& model);

/// "length" or "stop".
const char* finish_name(generate::FinishReason finish);

class AnswerWriter {
 public:
  virtual ~AnswerWriter() = default;
  /// Takes the next event. Returns the chunks of a stream that it makes.
  virtual std::vector<json::Json> take(const Event& event) = 0;
  /// All that was taken, as one answer.
  virtual json::Json whole() const = 0;
  /// The last chunk of a stream, with the tokens that all choices took.
  virtual json::Json usage_chunk() const = 0;
};

/// The tokens of a prompt are counted once for all choices that continue it.
class UsageSum {
 public:
  explicit UsageSum(int64_t choices_per_prompt) : choices_per_prompt_(choices_per_prompt) {}
  void add(const Event& event);
  json::Json json() const;

 private:
  int64_t choices_per_prompt_;
  Usage sum_;
};

/// Of /v1/completions.
class CompletionWriter final : public AnswerWriter {
 public:
  struct Options {
    std::vector<std::vector<tokenizer::TokenId>> prompts;
    int64_t n = 1;  ///< choices of each
    bool echo = false;
    bool scores = false;
  };
  CompletionWriter(AnswerHead head, const tokenizer::Tokenizer& tokenizer, Options options);

  std::vector<json::Json> take(const Event& event) override;
  json::Json whole() const override;
  json::Json usage_chunk() const override;

 private:
  struct Choice {
    std::string text;
    json::Json logprobs = nullptr;
    int64_t n_characters = 0;  // of the tokens in `logprobs`
    json::Json finish = nullptr;
    bool begun = false;
  };
  json::Json answer(json::Json choices) const;
  void add_scores(const std::vector<ScoredToken>& tokens, json::Json& logprobs, Choice& choice) const;

  const AnswerHead head_;
  const tokenizer::Tokenizer& tokenizer_;
  const Options options_;
  std::vector<Choice> choices_;
  UsageSum usage_;
};

/// Scores of tokens as chats have them: {"content": [{token, logprob, bytes, top_logprobs}]}.
json::Json chat_scores(const std::vector<ScoredToken>& tokens, const tokenizer::Tokenizer& tokenizer);

/// {models, first_difference, answers: [{text, agreement, divergence, tokens: [{text, divergence, top}]}]}, for the
/// page.
json::Json comparison_json(const ComparedAnswers& compared, const tokenizer::Tokenizer& tokenizer,
                           const std::vector<std::string>& models);

/// One event of a stream of server-sent events.
std::string sse(const json::Json& chunk);
inline constexpr std::string_view kSseEnd = "data: [DONE]\n\n";

}  // namespace steelyard::serve
