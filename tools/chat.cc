// steelyard chat: talk to a model through its chat template, or print what the template makes of messages.
#include "jobs/chat.h"

#include <optional>

#include "base/error.h"
#include "base/signals.h"
#include "chat_screen.h"
#include "command.h"
#include "options.h"
#include "progress_line.h"

namespace steelyard::tools {
namespace {

struct CommandLine {
  jobs::ChatOptions options;
  std::string reasoning = "show";
  bool raw = false;
};

void run(const CommandLine& line) {
  if (!line.options.render.empty()) {
    write_out(jobs::render_chat(line.options));
    return;
  }
  if (line.options.model.model.empty()) fail("", "--model is required");
  ChatScreen screen(line.reasoning == "show", line.raw);
  std::optional<InterruptNotice> notice;
  const auto next_line = [&] {
    notice.reset();  // while the user types, Ctrl-C ends the program as it always does
    auto text = read_line();
    notice.emplace();
    return text;
  };
  jobs::chat(
      line.options, [&](const jobs::Progress& progress) { screen.show(progress); }, next_line,
      InterruptNotice::interrupted);
}

}  // namespace

void add_chat(CLI::App& app) {
  auto* command = app.add_subcommand("chat", "talk to a model through its chat template");
  auto line = std::make_shared<CommandLine>();
  jobs::ChatOptions& options = line->options;
  add_options(*command, options.model);
  command->get_option("--model")->required(false);
  command->add_option("--render", options.render,
                      "print what the template makes of this JSON, an object with \"messages\", and end");
  add_options(*command, options.shaped);
  command->add_option("-p,--prompt", options.prompt, "what you say first");
  command->add_option("-n,--n-predict", options.n_predict, "maximum number of tokens of an answer; -1: no limit")
      ->capture_default_str();
  command->add_option("-c,--ctx-size", options.ctx_size, "context size in tokens; default: 4096");
  command->add_option("-b,--batch-size", options.batch_size, "prompt tokens per batch")->capture_default_str();
  add_options(*command, options.sampling);
  command->add_option("-s,--seed", options.seed, "random seed; -1: another one each time")->capture_default_str();
  add_stop(*command, options.stop);
  add_reasoning(*command, line->reasoning);
  command->add_flag("--raw", line->raw, "on a terminal, too, print what the model says byte for byte");
  command->callback([line] { run(*line); });
}

}  // namespace steelyard::tools
