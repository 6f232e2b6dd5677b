// A model, its engine and what `run` says, for tests of the server.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "generate/generator.h"
#include "gguf/reader.h"
#include "serve/engine.h"
#include "support.h"

namespace steelyard::test {

inline std::string bundled_model() {
  return std::string(STEELYARD_SOURCE_DIR) + "/tests/models/glm-flash-tiny-bf16.gguf";
}

struct Served {
  explicit Served(const std::string& path, serve::EngineOptions options = {.n_slots = 4, .n_context = 256})
      : reader(path),
        backend(compute::make_backend("cpu", compute::Precision::kFast)),
        model(reader, *backend),
        tokenizer(
            gguf::Reader(bundled_model()).metadata()),  // tiny models have none; for tokens below it serves them all
        options_(options),
        engine(std::make_unique<serve::Engine>(model, tokenizer, options)) {}

  using Ids = std::vector<tokenizer::TokenId>;

  serve::TextRequest request(Ids prompt, int64_t n, std::shared_ptr<serve::Channel> channel, int64_t index = 0) const {
    return {.prompt = std::move(prompt),
            .max_tokens = n,
            .sampling = {.temperature = 0},
            .n_top = 0,
            .index = index,
            .channel = std::move(channel)};
  }

  /// Takes events of up to n texts until all have ended: their tokens by index.
  struct Answer {
    Ids ids;
    std::string text, error;
    serve::Usage usage;
    std::optional<generate::FinishReason> finish;
    std::vector<serve::ScoredToken> prompt, tokens;
  };
  static std::vector<Answer> collect(serve::Channel& channel, size_t n) {
    std::vector<Answer> answers(n);
    for (size_t ended = 0; ended < n;) {
      const auto event = channel.next(std::chrono::minutes(2));
      EXPECT_TRUE(event.has_value());
      if (!event) break;
      Answer& answer = answers.at(static_cast<size_t>(event->index));
      for (const serve::ScoredToken& token : event->tokens) {
        answer.ids.push_back(token.token.id);
        answer.tokens.push_back(token);
      }
      if (!event->prompt.empty()) answer.prompt = event->prompt;
      answer.text += event->text;
      answer.error += event->error;
      if (event->is_last()) {
        answer.usage = event->usage;
        answer.finish = event->finish;
        ++ended;
      }
    }
    return answers;
  }

  /// The text that `run` gives greedily.
  std::string run_text(const Ids& prompt, int64_t n) const {
    generate::Generator generator(model, tokenizer,
                                  {.n_context = options_.n_context, .sampling = {.temperature = 0}, .stops = {}});
    generator.append(prompt);
    std::string text;
    generator.generate(n, [&](std::string_view piece) { text += piece; });
    return text;
  }

  gguf::Reader reader;
  std::unique_ptr<compute::Backend> backend;
  model::Model model;
  tokenizer::Tokenizer tokenizer;
  serve::EngineOptions options_;
  std::unique_ptr<serve::Engine> engine;
};

}  // namespace steelyard::test
