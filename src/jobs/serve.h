// Answers requests of OpenAI's API until it is told to stop; what runs then is finished.
//
// Progress: "listening" with data {host, port, model, context, parallel} when requests are answered; "serving" a few
// times a second from then on, so that the callback can end the job; "draining" when it stops.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "generate/sampler.h"
#include "jobs/model_options.h"
#include "jobs/progress.h"

namespace steelyard::jobs {

struct ServeOptions {
  ModelOptions model = {.precision = "fast"};
  std::string host = "127.0.0.1";
  int64_t port = 8080;            ///< 0: any that is free
  std::string api_key;            ///< that clients have to give; empty: none
  std::string api_key_file;       ///< with the key, less a newline at its end
  std::string compare;            ///< another file of the model: a page shows both side by side; empty: there is none
  std::string chat_template;      ///< file with a template instead of the model's
  std::string alias;              ///< the model's name for clients; empty: that of the file
  int64_t ctx_size = 0;           ///< tokens there is room for in each text; 0: 4096, or what the model has
  int64_t parallel = 4;           ///< texts that are answered at a time
  int64_t queue = 64;             ///< texts that may wait; further requests are told to come back (429)
  uint64_t body_size = 16 << 20;  ///< bytes of a request at most
  generate::SamplingOptions sampling;  ///< where a request says nothing; but for the seed, which is drawn

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit.group(self.model);
    visit("host", self.host);
    visit("port", self.port);
    visit("api_key", self.api_key);
    visit("api_key_file", self.api_key_file);
    visit("compare", self.compare);
    visit("chat_template", self.chat_template);
    visit("alias", self.alias);
    visit("ctx_size", self.ctx_size);
    visit("parallel", self.parallel);
    visit("queue", self.queue);
    visit.bytes("body_size", self.body_size);
    visit.group(self.sampling);
  }
};

struct ServeResult {
  int64_t texts = 0, cancelled = 0, failed = 0;  ///< answers: begun; whose client hung up; that ended in an error
  int64_t prompt_tokens = 0, cached_tokens = 0, generated_tokens = 0;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("texts", self.texts);
    visit("cancelled", self.cancelled);
    visit("failed", self.failed);
    visit("prompt_tokens", self.prompt_tokens);
    visit("cached_tokens", self.cached_tokens);
    visit("generated_tokens", self.generated_tokens);
  }
};

/// Asked a few times a second: true ends the job when what runs has been answered.
using StopRequested = std::function<bool()>;

/// Error for options out of range, a port that cannot be had, and a model whose texts have no room in memory.
ServeResult serve(const ServeOptions& options, const ProgressCallback& progress = {}, const StopRequested& stop = {});

}  // namespace steelyard::jobs
