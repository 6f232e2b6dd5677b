// The process that renders templates, as a function: input in, text out. It is started when it is first needed, and
// again after a template had to be stopped. What a template can do to us is to waste the time, memory and bytes of
// RenderLimits. renderer_script.h has the program, base/child_process.h what it runs in. Called by Template.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "base/child_process.h"
#include "base/error.h"
#include "chat/json.h"

namespace steelyard::chat {

/// Of one rendering.
struct RenderLimits {
  int64_t seconds = 10;  ///< of the processor; of the clock, three times as many and some to start
  uint64_t memory_bytes = uint64_t{512} << 20;
  uint64_t output_bytes = uint64_t{64} << 20;  ///< of the text
};

/// The template itself says no: it raises, or cannot be used with this input. Everything else is another Error.
class TemplateError : public Error {
 public:
  using Error::Error;
};

class Renderer {
 public:
  /// `templates`: sources by name. `where`: what messages call them. `now`: what the time is for them,
  /// "2026-01-02T03:04:05"; empty: what it is.
  Renderer(std::map<std::string, std::string> templates, std::string where, RenderLimits limits, std::string now);

  /// TemplateError where the template raises or has a mistake; Error where it exceeds a limit, and where Jinja2 is not
  /// installed. Both have one line.
  std::string render(const std::string& name, const Json& input);

 private:
  void start();
  // Sends a line, and waits for the answer to it.
  Json ask(const Json& request);
  [[noreturn]] void stopped(ChildProcess::Outcome outcome);

  const std::map<std::string, std::string> templates_;
  const std::string where_;
  const RenderLimits limits_;
  const std::string now_;
  std::unique_ptr<ChildProcess> child_;
};

}  // namespace steelyard::chat
