// Talks to a model as it is used: messages through its chat template, answers divided into reasoning and text.
//
// Progress: "seed" with data {seed} where one was drawn; "reasoning" and "text" with pieces of an answer as data,
// "call" with {name, arguments} of a call of a tool, "ending" where an answer ends, "note" with a line about a command.
// Bytes of pieces are whole characters, as far as the model writes any.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "generate/sampler.h"
#include "jobs/model_options.h"
#include "jobs/progress.h"
#include "jobs/run.h"
#include "jobs/template_options.h"

namespace steelyard::jobs {

struct ChatOptions {
  ModelOptions model = {.precision = "fast"};
  std::string render;      ///< a JSON file: what a template sees; only its text is made
  TemplateOptions shaped;  ///< how messages become a prompt
  std::string prompt;      ///< what the user says first, before any line is read; no command
  int64_t n_predict = -1;  ///< tokens of an answer at most; -1: until the model ends it
  int64_t ctx_size = 0;    ///< tokens there is room for; 0: 4096, or what the model has
  int64_t batch_size = 512;
  generate::SamplingOptions sampling;  ///< but for the seed
  int64_t seed = 0;                    ///< -1: another one each time
  std::vector<std::string> stop;       ///< texts at which an answer ends; they are not part of it

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit.group(self.model);
    visit("render", self.render);
    visit.group(self.shaped);
    visit("prompt", self.prompt);
    visit("n_predict", self.n_predict);
    visit("ctx_size", self.ctx_size);
    visit("batch_size", self.batch_size);
    visit.group(self.sampling);
    visit("seed", self.seed);
    visit("stop", self.stop);
  }
};

struct ChatResult {
  std::string messages;       ///< JSON of the conversation
  std::string text;           ///< of the last answer, without its reasoning
  std::string finish_reason;  ///< of the last answer, as of `run`; "interrupted"; or none
  int64_t context = 0;        ///< tokens there was room for
  int64_t seed = 0;           ///< of the first answer
  int64_t answers = 0;        ///< that the model gave
  int64_t reused = 0;         ///< tokens of prompts that were in the cache already
  RunPace prompt, generation;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("messages", self.messages);
    visit("text", self.text);
    visit("finish_reason", self.finish_reason);
    visit("context", self.context);
    visit("seed", self.seed);
    visit("answers", self.answers);
    visit("reused", self.reused);
    visit("prompt", self.prompt);
    visit("generation", self.generation);
  }
};

/// The text that the model would be given for the input of `options.render`. Error where the template raises.
std::string render_chat(const ChatOptions& options);

/// Answers the prompt if there is one, then every line of `read_line` if that is given, until it ends or says /exit.
/// Other lines that begin with / are commands, which /help lists. `interrupted`: asked after each token; true ends the
/// answer, which stays as far as it is.
ChatResult chat(const ChatOptions& options, const ProgressCallback& progress, const ReadLine& read_line,
                const std::function<bool()>& interrupted = {});

}  // namespace steelyard::jobs
