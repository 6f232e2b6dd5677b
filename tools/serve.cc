// steelyard serve: answers requests of OpenAI's API with a model, until a signal asks it to stop.
#include "jobs/serve.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/signals.h"
#include "command.h"
#include "options.h"
#include "progress_line.h"

namespace steelyard::tools {
namespace {

struct CommandLine {
  jobs::ServeOptions options;
  bool quiet = false;
};

void serve(const CommandLine& line) {
  finish_on_signals();
  const auto show = [&](const jobs::Progress& progress) {
    if (line.quiet) return;
    if (progress.stage == "listening") {
      fmt::print(stderr, "{}: {} texts of up to {} tokens at a time\nlistening on http://{}:{}\n",
                 printable(progress.data.at("model").get<std::string>()), progress.data.at("parallel").get<int64_t>(),
                 progress.data.at("context").get<int64_t>(), printable(progress.data.at("host").get<std::string>()),
                 progress.data.at("port").get<int64_t>());
    } else if (progress.stage == "draining") {
      fmt::print(stderr, "finishing what runs; a second signal ends it\n");
    }
  };
  const jobs::ServeResult result = jobs::serve(line.options, show, finish_requested);
  if (line.quiet) return;
  fmt::print(stderr,
             "{} answers, {} of them cut off by their clients; {} tokens of prompts, {} of them known, {} generated\n",
             result.texts, result.cancelled, result.prompt_tokens, result.cached_tokens, result.generated_tokens);
}

}  // namespace

void add_serve(CLI::App& app) {
  auto* command = app.add_subcommand("serve", "answer requests of OpenAI's API");
  auto line = std::make_shared<CommandLine>();
  jobs::ServeOptions& options = line->options;
  add_options(*command, options.model);
  command->add_option("--host", options.host, "address to listen on")->capture_default_str();
  command->add_option("--port", options.port, "port to listen on; 0: any that is free")->capture_default_str();
  command->add_option("--api-key", options.api_key,
                      "key that clients have to give; others see it in the list of processes");
  command->add_option("--api-key-file", options.api_key_file, "file with the key")->excludes("--api-key");
  command->add_option("--compare", options.compare,
                      "another file of the model, such as the unquantized one: a page shows both side by side");
  command->add_option("--chat-template", options.chat_template, "file with a chat template instead of the model's");
  command->add_option("--alias", options.alias, "name of the model for clients; default: that of the file");
  command->add_option("-c,--ctx-size", options.ctx_size,
                      "context of each text in tokens; default: 4096, or what the model has");
  command->add_option("--parallel", options.parallel, "texts that are answered at a time")->capture_default_str();
  command->add_option("--queue", options.queue, "texts that may wait; further requests get status 429")
      ->capture_default_str();
  add_bytes(*command, "--body-size", options.body_size, "largest body of a request")->default_str("16MiB");
  add_options(*command, options.sampling);
  command->add_flag("-q,--quiet", line->quiet, "print nothing");
  command->callback([line] { serve(*line); });
}

}  // namespace steelyard::tools
