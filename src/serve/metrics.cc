#include "serve/metrics.h"

#include <fmt/format.h>

namespace steelyard::serve {

void Metrics::count(const std::string& path, int status) {
  const std::lock_guard lock(mutex_);
  ++responses_[{path, status}];
}

std::string Metrics::text(const EngineFigures& engine, int64_t n_slots) const {
  std::string text;
  const auto describe = [&](const char* name, const char* type, const char* help) {
    text += fmt::format("# HELP steelyard_{0} {2}\n# TYPE steelyard_{0} {1}\n", name, type, help);
  };
  const auto add = [&](const char* name, const char* type, const char* help, auto value) {
    describe(name, type, help);
    text += fmt::format("steelyard_{} {}\n", name, value);
  };
  describe("responses_total", "counter", "Responses by path and HTTP status.");
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [of, n] : responses_)
      text += fmt::format("steelyard_responses_total{{path=\"{}\",status=\"{}\"}} {}\n", of.first, of.second, n);
  }
  add("texts_total", "counter", "Texts that were begun, one for each choice of a request.", engine.texts);
  add("cancelled_total", "counter", "Texts whose client hung up.", engine.cancelled);
  add("failed_total", "counter", "Texts that ended in an error.", engine.failed);
  add("prompt_tokens_total", "counter", "Tokens of prompts, cached ones included.", engine.prompt_tokens);
  add("prompt_tokens_cached_total", "counter", "Tokens of prompts that were not computed again.", engine.cached_tokens);
  add("generated_tokens_total", "counter", "Tokens of answers.", engine.generated_tokens);
  add("prompt_seconds_total", "counter", "Time in which prompts went through the model.", engine.prompt_seconds);
  add("generation_seconds_total", "counter", "Time in which answers went through the model.",
      engine.generation_seconds);
  add("generation_steps_total", "counter", "Steps of one token of every running text.", engine.steps);
  add("texts_running", "gauge", "Texts in slots.", engine.running);
  add("texts_waiting", "gauge", "Texts in the queue.", engine.waiting);
  add("slots", "gauge", "Texts that may run at a time.", n_slots);
  return text;
}

}  // namespace steelyard::serve
