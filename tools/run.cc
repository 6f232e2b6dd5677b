// steelyard run: load a model and continue a prompt, or a dialogue line by line: the eyeball check.
#include "jobs/run.h"

#include <fmt/format.h>
#include <unistd.h>

#include <iostream>

#include "base/error.h"
#include "command.h"
#include "options.h"
#include "progress_line.h"

namespace steelyard::tools {
namespace {

struct CommandLine {
  jobs::RunOptions options;
  bool interactive = false;
  bool quiet = false;
};

std::optional<std::string> read_line() {
  if (::isatty(STDIN_FILENO) == 1) fmt::print(stderr, "> ");
  std::string line;
  return std::getline(std::cin, line) ? std::optional(line) : std::nullopt;
}

void print_pace(const char* what, const jobs::RunPace& timing) {
  fmt::print(stderr, "{}: {} tokens in {:.2f} s, {:.1f} tokens/s\n", what, timing.tokens, timing.seconds,
             timing.seconds > 0 ? static_cast<double>(timing.tokens) / timing.seconds : 0.0);
}

void run(const CommandLine& line) {
  if (line.interactive && line.options.file == "-") fail("", "--file - and --interactive both read the standard input");
  const auto show = [&](const jobs::Progress& progress) {
    if (progress.stage == "seed") {
      if (!line.quiet) fmt::print(stderr, "seed {}\n", progress.data.at("seed").get<int64_t>());
      return;
    }
    write_out(progress.stage == "ending" ? "\n" : progress.data.get_ref<const std::string&>());
    std::fflush(stdout);  // text is read as it comes
  };
  const jobs::RunResult result =
      jobs::run(line.options, show, line.interactive ? jobs::ReadLine(read_line) : jobs::ReadLine());
  if (line.quiet) return;
  end_line();
  if (result.finish_reason == "context") fmt::print(stderr, "the context of {} tokens is full\n", result.context);
  print_pace("prompt", result.prompt);
  print_pace("generation", result.generation);
}

void add_sampling(CLI::App& command, generate::SamplingOptions& sampling) {
  command.add_option("--temp", sampling.temperature, "temperature; 0: always the likeliest token")
      ->capture_default_str();
  command.add_option("--top-k", sampling.top_k, "choose among the k likeliest; 0: all")->capture_default_str();
  command.add_option("--top-p", sampling.top_p, "choose among the likeliest that have this share; 1: all")
      ->capture_default_str();
  command.add_option("--min-p", sampling.min_p, "choose among those with this share of the likeliest; 0: all")
      ->capture_default_str();
  command.add_option("--repeat-penalty", sampling.repeat_penalty, "divides the logits of the last tokens; 1: none")
      ->capture_default_str();
  command.add_option("--repeat-last-n", sampling.repeat_last_n, "how many tokens are the last ones; -1: all")
      ->capture_default_str();
}

}  // namespace

void add_run(CLI::App& app) {
  auto* command = app.add_subcommand("run", "continue a prompt, or answer line by line");
  auto line = std::make_shared<CommandLine>();
  jobs::RunOptions& options = line->options;
  add_options(*command, options.model);
  command->add_option("-p,--prompt", options.prompt, "text to continue");
  command->add_option("-f,--file", options.file, "file with the text to continue")->excludes("--prompt");
  command->add_option("-n,--n-predict", options.n_predict, "maximum number of tokens to generate; -1: until the model ends or the context is full")->capture_default_str();
  command->add_option("-c,--ctx-size", options.ctx_size,
                      "tokens there is room for; by default what prompt and -n need, with -i 4096");
  command->add_option("-b,--batch-size", options.batch_size, "tokens of the prompt that go through the model at once")
      ->capture_default_str();
  command->add_flag("-i,--interactive", line->interactive, "read lines from the standard input and answer each");
  add_sampling(*command, options.sampling);
  command->add_option("-s,--seed", options.seed, "the same seed chooses the same tokens; -1: another seed each time")
      ->capture_default_str();
  command->add_option("--stop", options.stop, "text at which to end, not shown; may be repeated")
      ->allow_extra_args(false);
  command->add_flag("--no-special", options.no_special,
                    "text such as <|user|> stays text and is not read as that token");
  command->add_flag("--show-special", options.show_special, "show control tokens that the model yields");
  command->add_flag("-q,--quiet", line->quiet, "say nothing about tokens and speed");
  command->callback([line] { run(*line); });
}

}  // namespace steelyard::tools
