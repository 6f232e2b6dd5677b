// Continues a prompt, answers lines of a dialogue, or both; or asks a chat model a question through its template.
//
// Progress, with `chat` as of jobs/chat.h, else: "seed" with data {seed} where one was drawn; "prompt" with the
// prompt's text as data; "text" with each piece of what the model says; "ending" with data {finish_reason} where an
// answer ends. Pieces are the bytes of UTF-8 as the model makes them: a character may be cut, or none at all, so that
// text of a Json here is not to be dumped.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "generate/sampler.h"
#include "jobs/model_options.h"
#include "jobs/progress.h"
#include "jobs/template_options.h"

namespace steelyard::jobs {

struct RunOptions {
  ModelOptions model = {.precision = "fast"};
  std::string prompt;
  std::string file;        ///< with the prompt, less a newline at its end
  bool chat = false;       ///< the prompt is a user's message, and lines go on with the conversation (jobs/chat.h)
  TemplateOptions shaped;  ///< with chat: how messages become a prompt
  /// Tokens of an answer at most; -1: until the model ends it or the context is full; nothing: 64, of a chat -1.
  std::optional<int64_t> n_predict;
  int64_t ctx_size = 0;  ///< tokens there is room for; 0: what prompt and n_predict (-1: 4096) need, of a dialogue 4096
  int64_t batch_size = 512;            ///< tokens of the prompt that go through the model at once
  generate::SamplingOptions sampling;  ///< but for the seed
  int64_t seed = 0;                    ///< -1: another one each time
  std::vector<std::string> stop;       ///< texts at which an answer ends; they are not part of it
  bool no_special = false;             ///< text such as <|user|> stays text
  bool show_special = false;           ///< control tokens are part of what the model says

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit.group(self.model);
    visit("prompt", self.prompt);
    visit("file", self.file);
    visit("chat", self.chat);
    visit.group(self.shaped);
    visit("n_predict", self.n_predict);
    visit("ctx_size", self.ctx_size);
    visit("batch_size", self.batch_size);
    visit.group(self.sampling);
    visit("seed", self.seed);
    visit("stop", self.stop);
    visit("no_special", self.no_special);
    visit("show_special", self.show_special);
  }
};

/// Tokens, and the seconds they took.
struct RunPace {
  int64_t tokens = 0;
  double seconds = 0;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("tokens", self.tokens);
    visit("seconds", self.seconds);
  }
};

struct RunResult {
  std::string text;  ///< all that the model said, each answer of a dialogue ended by a newline; of a chat its last
                     ///< answer, without its reasoning
  std::string
      finish_reason;    ///< of the last answer: end-of-generation, stop, tokens (n_predict), context (full); or none
  int64_t context = 0;  ///< tokens there was room for
  int64_t seed = 0;     ///< that chose the tokens: with it the run can be repeated
  RunPace prompt, generation;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("text", self.text);
    visit("finish_reason", self.finish_reason);
    visit("context", self.context);
    visit("seed", self.seed);
    visit("prompt", self.prompt);
    visit("generation", self.generation);
  }
};

/// The next line of a dialogue without its newline; nothing where it ends.
using ReadLine = std::function<std::optional<std::string>()>;

/// Answers the prompt if there is one, then every line of `read_line` if that is given. Error for options out of range,
/// a prompt that the context has no room for, and in a dialogue for a context that is full.
RunResult run(const RunOptions& options, const ProgressCallback& progress = {}, const ReadLine& read_line = {});

}  // namespace steelyard::jobs
