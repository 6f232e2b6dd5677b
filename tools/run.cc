// steelyard run: loads a model and continues a prompt, or a dialogue line by line, to look at its text.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <iostream>

#include "base/atomic_file.h"
#include "base/error.h"
#include "command.h"
#include "generate/generator.h"

namespace steelyard::tools {
namespace {

// The context of an interactive run, whose need is not known beforehand.
constexpr int64_t kInteractiveContext = 4096;

struct Options {
  ModelOptions model;
  std::string prompt, prompt_file;
  int64_t n_predict = 64;
  int64_t n_context = 0;
  bool no_special = false;
  bool interactive = false;
  bool quiet = false;
  Generator::Options generation{};

  void add_to(CLI::App& command);
  void generate();

 private:
  std::string read_prompt() const;
  std::vector<TokenId> encode(const std::string& text, const Tokenizer& tokenizer, bool begins) const;
  int64_t context(int64_t n_prompt) const;
  void converse(Generator& run, const Tokenizer& tokenizer) const;
};

void Options::add_to(CLI::App& command) {
  model.add_to(command, "fast");
  command.add_option("-p,--prompt", prompt, "text to continue");
  command.add_option("-f,--file", prompt_file, "file with the text to continue")->excludes("--prompt");
  command.add_option("-n,--n-predict", n_predict, "tokens to generate at most")->capture_default_str();
  command.add_option("-c,--ctx-size", n_context,
                     "tokens there is room for; by default what prompt and -n need, with -i 4096");
  command.add_option("-b,--batch-size", generation.batch, "tokens of the prompt that go through the model at once")
      ->capture_default_str();
  command.add_flag("-i,--interactive", interactive, "read lines from the standard input and answer each");
  SamplingOptions& sampling = generation.sampling;
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
  command.add_option("-s,--seed", sampling.seed, "the same seed chooses the same tokens")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  command.add_option("--stop", generation.stops, "text at which to end, not shown; may be repeated")
      ->allow_extra_args(false);
  command.add_flag("--no-special", no_special, "text such as <|user|> stays text and is not read as that token");
  command.add_flag("--show-special", generation.show_special, "show control tokens that the model yields");
  command.add_flag("-q,--quiet", quiet, "say nothing about tokens and speed");
}

std::string Options::read_prompt() const {
  if (prompt_file.empty()) return prompt;
  std::string text = read_file(prompt_file);
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

// BOS goes before text that begins the context. EOS, which some models want after a text, would end the text to
// continue.
std::vector<TokenId> Options::encode(const std::string& text, const Tokenizer& tokenizer, bool begins) const {
  std::vector<TokenId> ids = tokenizer.encode(text, /*add_special=*/false, !no_special);
  if (begins && tokenizer.add_bos()) ids.insert(ids.begin(), *tokenizer.bos());
  return ids;
}

// The number of tokens to make room for.
int64_t Options::context(int64_t n_prompt) const {
  const int64_t most = model.model().config().n_context;
  if (n_context > most) fail("", "a context of {} is beyond the model's {}", n_context, most);
  if (n_context > 0) return n_context;
  if (interactive) return std::min(most, std::max(kInteractiveContext, n_prompt + std::min(n_predict, most)));
  return std::min(most, n_prompt + std::min(n_predict, most));
}

void write(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

void Options::converse(Generator& run, const Tokenizer& tokenizer) const {
  const bool ask = ::isatty(STDIN_FILENO) == 1;
  while (true) {
    if (ask) fmt::print(stderr, "> ");
    std::string line;
    if (!std::getline(std::cin, line)) return;
    run.append(encode(line + "\n", tokenizer, run.empty()));
    const Ending ending = run.generate(n_predict, write);
    write("\n");
    if (ending == Ending::kContext) {
      fail("", "the context of {} tokens is full; -c gives it room for more", generation.n_context);
    }
  }
}

void report(const char* what, const Pace& pace) {
  fmt::print(stderr, "{}: {} tokens in {:.2f} s, {:.1f} tokens/s\n", what, pace.tokens, pace.seconds,
             pace.seconds > 0 ? static_cast<double>(pace.tokens) / pace.seconds : 0.0);
}

void Options::generate() {
  if (n_predict < 1) fail("", "-n must be at least 1");
  if (n_context < 0) fail("", "-c must be at least 1");
  if (generation.batch < 1) fail("", "-b must be at least 1");
  check(generation.sampling);
  const std::string text = read_prompt();
  model.open(n_context);
  const Tokenizer tokenizer(model.reader().metadata());
  std::vector<TokenId> ids;
  if (!text.empty()) ids = encode(text, tokenizer, /*begins=*/true);
  if (ids.empty() && !interactive) fail("", "the prompt is empty: give --prompt, --file or --interactive");
  const auto n_prompt = static_cast<int64_t>(ids.size());
  generation.n_context = context(n_prompt);
  if (n_prompt >= generation.n_context) {
    fail("", "a prompt of {} tokens fills the context of {}", n_prompt, generation.n_context);
  }

  Generator run(model.model(), tokenizer, generation);
  if (!ids.empty()) {
    write(text);
    run.append(ids);
    const Ending ending = run.generate(n_predict, write);
    write("\n");
    if (ending == Ending::kContext && !quiet) {
      fmt::print(stderr, "the context of {} tokens is full\n", generation.n_context);
    }
  }
  if (interactive) converse(run, tokenizer);
  if (!quiet) {
    report("prompt", run.prompt_pace());
    report("generation", run.generation_pace());
  }
}

}  // namespace

void add_run(CLI::App& app) {
  auto* command = app.add_subcommand("run", "continue a prompt, or answer line by line");
  auto options = std::make_shared<Options>();
  options->add_to(*command);
  command->callback([options] { options->generate(); });
}

}  // namespace steelyard::tools
