// steelyard run: load a model and continue a prompt, or a dialogue line by line: the eyeball check.
#include "jobs/run.h"

#include <fmt/format.h>

#include <optional>

#include "base/error.h"
#include "chat_screen.h"
#include "command.h"
#include "options.h"
#include "progress_line.h"

namespace steelyard::tools {
namespace {

struct CommandLine {
  jobs::RunOptions options;
  bool interactive = false;
  bool quiet = false;
  bool raw = false;
  std::string reasoning = "show";
};

void print_pace(const char* what, const jobs::RunPace& timing) {
  fmt::print(stderr, "{}: {} tokens in {:.2f} s, {:.1f} tokens/s\n", what, timing.tokens, timing.seconds,
             timing.seconds > 0 ? static_cast<double>(timing.tokens) / timing.seconds : 0.0);
}

void run(const CommandLine& line) {
  if (line.interactive && line.options.file == "-") fail("", "--file - and --interactive both read the standard input");
  if (line.raw) write_raw();
  std::optional<ChatScreen> screen;  // only where it is used: it takes the terminal over
  if (line.options.chat) screen.emplace(line.reasoning == "show", line.raw);
  const auto show = [&](const jobs::Progress& progress) {
    if (progress.stage == "seed") {
      if (!line.quiet) fmt::print(stderr, "seed {}\n", progress.data.at("seed").get<int64_t>());
      return;
    }
    if (screen) return screen->show(progress);
    write_out(progress.stage == "ending" ? "\n" : progress.data.get_ref<const std::string&>());
    std::fflush(stdout);  // text is read as it comes
  };
  const jobs::RunResult result =
      jobs::run(line.options, show, line.interactive ? jobs::ReadLine(read_line) : jobs::ReadLine());
  end_line();
  if (line.quiet) return;
  if (result.finish_reason == "context") fmt::print(stderr, "the context of {} tokens is full\n", result.context);
  print_pace("prompt", result.prompt);
  print_pace("generation", result.generation);
}

}  // namespace

void add_run(CLI::App& app) {
  auto* command = app.add_subcommand("run", "continue a prompt, or answer interactively");
  auto line = std::make_shared<CommandLine>();
  jobs::RunOptions& options = line->options;
  add_options(*command, options.model);
  command->add_option("-p,--prompt", options.prompt, "text to continue");
  command->add_option("-f,--file", options.file, "file with the prompt")->excludes("--prompt");
  command->add_option(
      "-n,--n-predict", options.n_predict,
      "maximum number of tokens to generate; -1: until the model ends or the context is full; default: 64, "
      "with --chat -1");
  command->add_option("-c,--ctx-size", options.ctx_size,
                      "context size in tokens; default: what prompt and -n need, with -i or --chat 4096");
  command->add_option("-b,--batch-size", options.batch_size, "prompt tokens per batch")->capture_default_str();
  command->add_flag("--chat", options.chat, "ask the prompt as a user, through the model's chat template");
  add_options(*command, options.shaped);
  add_reasoning(*command, line->reasoning);
  command->add_flag("-i,--interactive", line->interactive, "read lines from standard input and answer each");
  add_options(*command, options.sampling);
  command
      ->add_option("-s,--seed", options.seed,
                   "random seed; the same seed gives the same tokens; -1: another seed "
                   "each time")
      ->capture_default_str();
  add_stop(*command, options.stop);
  command->add_flag("--no-special", options.no_special, "do not read text such as <|user|> as special tokens");
  command->add_flag("--show-special", options.show_special, "print control tokens that the model generates");
  command->add_flag("--raw", line->raw,
                    "on a terminal, too, print what the model says byte for byte, controls included");
  command->add_flag("-q,--quiet", line->quiet, "do not print token counts and speed");
  command->callback([line] { run(*line); });
}

}  // namespace steelyard::tools
