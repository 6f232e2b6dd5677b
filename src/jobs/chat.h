// Talks to a model as it is used: messages through its chat template, answers divided into reasoning and text.
//
// Progress: "reasoning" and "text" with pieces of an answer as data, "call" with {name, arguments} of a call of a tool,
// "ending" where an answer ends, "note" with a line about a command. Bytes of pieces are whole characters, as far as
// the model writes any.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "generate/sampler.h"
#include "jobs/model_options.h"
#include "jobs/progress.h"
#include "jobs/run.h"

namespace steelyard::jobs {

struct ChatOptions {
  ModelOptions model = {.precision = "fast"};
  std::string render;                ///< a JSON file: what a template sees; only its text is made
  std::string chat_template;         ///< a file with a template, instead of the model's; - is none
  std::string chat_template_kwargs;  ///< JSON of an object: further names that the template sees
  std::string date;                  ///< what the time is for templates, "2026-01-02T03:04:05"; empty: what it is
  std::string system;                ///< the system's message; empty: none
  int64_t n_predict = -1;            ///< tokens of an answer at most; -1: until the model ends it
  int64_t ctx_size = 0;              ///< tokens there is room for; 0: 4096, or what the model has
  int64_t batch_size = 512;
  generate::SamplingOptions sampling;  ///< but for the seed
  int64_t seed = 0;                    ///< -1: another one each time

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit.group(self.model);
    visit("render", self.render);
    visit("chat_template", self.chat_template);
    visit("chat_template_kwargs", self.chat_template_kwargs);
    visit("date", self.date);
    visit("system", self.system);
    visit("n_predict", self.n_predict);
    visit("ctx_size", self.ctx_size);
    visit("batch_size", self.batch_size);
    visit.group(self.sampling);
    visit("seed", self.seed);
  }
};

struct ChatResult {
  std::string messages;  ///< JSON of the conversation
  int64_t answers = 0;   ///< that the model gave
  int64_t reused = 0;    ///< tokens of prompts that were in the cache already
  RunPace prompt, generation;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("messages", self.messages);
    visit("answers", self.answers);
    visit("reused", self.reused);
    visit("prompt", self.prompt);
    visit("generation", self.generation);
  }
};

/// The text that the model would be given for the input of `options.render`. Error where the template raises.
std::string render_chat(const ChatOptions& options);

/// Answers every line of `read_line`, until it ends or says /exit. Other lines that begin with / are commands, which
/// /help lists. `interrupted`: asked after each token; true ends the answer, which stays as far as it is.
ChatResult chat(const ChatOptions& options, const ProgressCallback& progress, const ReadLine& read_line,
                const std::function<bool()>& interrupted = {});

}  // namespace steelyard::jobs
