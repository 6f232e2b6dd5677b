// steelyard perplexity: perplexity of a model on a text, its divergence from a base model, its noise floor, and scores
// on tasks with several answers, which are a job of their own. perplexity_report shows.
#include "jobs/perplexity.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "base/error.h"
#include "command.h"
#include "figure_limits.h"
#include "jobs/choice.h"
#include "jobs/given_options.h"
#include "json_file.h"
#include "options.h"
#include "perplexity_report.h"
#include "progress_line.h"
#include "sharing.h"

namespace steelyard::tools {
namespace {

struct Tasks {
  const char *kind, *name, *help;
  int64_t most = 0;  // by default
  bool wanted = false;
  int64_t tasks = most;
};

struct CommandLine {
  jobs::PerplexityOptions options;
  Tasks tasks[3] = {{"hellaswag", "HellaSwag", "score HellaSwag tasks: -f FILE with six lines each", 400},
                    {"winogrande", "Winogrande", "score Winogrande tasks: -f FILE with comma-separated lines"},
                    {"multiple-choice", "multiple choice",
                     "score multiple-choice tasks: -f FILE in llama-perplexity's "
                     "binary format"}};
  JsonFile json;
  std::vector<std::string> fail_above;
};

void score_tasks(const CommandLine& line, const Tasks& tasks) {
  const jobs::PerplexityOptions& options = line.options;
  jobs::OptionNames used = jobs::names_of<jobs::ModelOptions>();
  used.insert({"file", "ctx_size", "batch_size"});
  refuse_others(options, used, fmt::format("with --{}", tasks.kind));
  TaskTable table;
  const jobs::ChoiceResult result = jobs::choice({.model = options.model,
                                                  .kind = tasks.kind,
                                                  .file = options.text.file,
                                                  .tasks = tasks.tasks,
                                                  .ctx_size = options.text.ctx_size,
                                                  .batch_size = options.sweep.batch_size},
                                                 [&](const jobs::Progress& progress) { table.show(progress); });
  print(result, tasks.name);
  line.json.write(result);
}

void run(CommandLine& line) {
  jobs::PerplexityOptions& options = line.options;
  const auto wanted = std::ranges::count(line.tasks, true, &Tasks::wanted);
  if (wanted > 1) fail("", "give one of --hellaswag, --winogrande and --multiple-choice");
  const std::vector<Limit> limits = parse_limits(line.fail_above);
  for (const Tasks& tasks : line.tasks) {
    if (!tasks.wanted && tasks.tasks != tasks.most) fail("", "--{0}-tasks: no effect without --{0}", tasks.kind);
  }
  if (!limits.empty() && wanted == 1) fail("", "--fail-above: tasks have scores, and no figures that it knows");
  if (!options.report.empty() && wanted == 1) fail("", "--report: tasks have scores, and no divergence to show");
  check(limits, options);
  if (cluster::leads(options.ranks)) line.json.check(options.inputs(), {options.report});
  if (wanted == 1 && cluster::are_several(options.ranks)) fail("", "tasks are scored in one process");
  if (wanted == 1) return score_tasks(line, *std::ranges::find(line.tasks, true, &Tasks::wanted));
  options.scratch_folder = std::filesystem::path(line.json.path()).parent_path().string();
  ProgressLine progress_line;
  // What is said and written before the run's progress is removed.
  const auto publish = [&](const jobs::PerplexityResult& result) {
    if (options.self_check)
      print_noise_floor(result);
    else if (result.conversations)
      print_conversations(result);
    else if (result.n_tokens)
      print_sequence(result);
    else
      print_text(result);
    if (std::fflush(stdout) != 0) fail("", "cannot write the output");
    line.json.write(result);
  };
  const jobs::PerplexityResult result = jobs::perplexity(
      options, [&](const jobs::Progress& progress) { show(progress, progress_line); }, publish);
  if (!cluster::leads(options.ranks)) return;
  if (const std::string excess = exceeded(limits, result); !excess.empty()) throw LimitExceeded(excess);
}

}  // namespace

void add_perplexity(CLI::App& app) {
  auto* command = app.add_subcommand("perplexity",
                                     "perplexity on a text, KL divergence from a base model, scores on "
                                     "tasks");
  auto line = std::make_shared<CommandLine>();
  jobs::PerplexityOptions& options = line->options;
  add_options(*command, options.model);
  add_options(*command, options.text);
  add_options(*command, options.conversations);
  command
      ->add_option(
          "--answer-tokens", options.answer_tokens,
          "with --conversations: maximum number of tokens of a greedy answer, whose tool calls are compared; 0: none")
      ->check(CLI::Range(0, 1 << 16))
      ->capture_default_str();
  line->json.add(*command);
  command->add_option("--report", options.report, "HTML file to write: the figures as pictures, the worst tokens");
  command->add_option("--tokens", options.tokens, "evaluate a single sequence: file with a JSON array of token ids");
  command->add_option("--dump-logits", options.dump_logits,
                      "with --tokens: write all logits to this file, as "
                      "little-endian float32");
  add_options(*command, options.sweep);
  add_stride(*command, options.text);
  command->add_option("--kl-divergence-base", options.kl_divergence_base,
                      "file of the base model's log-probabilities: written, or with --kl-divergence read");
  command
      ->add_option("--kl-divergence-base-format", options.kl_divergence_base_format,
                   "format of the base file: compact, or llama (llama-perplexity's, ten times as large)")
      ->check(CLI::IsMember({"compact", "llama"}))
      ->capture_default_str();
  command->add_flag("--kl-divergence", options.kl_divergence, "measure the KL divergence from the base");
  command->add_flag("--self-check", options.self_check,
                    "measure the noise floor: the model against itself in other "
                    "batches");
  add_options(*command, options.resume);
  command
      ->add_option("--fail-above", line->fail_above,
                   "exit with status 2 if a figure exceeds its limit: ppl=70,kld=0.02,kld_p99=0.3,kld_max=5")
      ->delimiter(',')
      ->allow_extra_args(false);
  for (Tasks& tasks : line->tasks) {
    command->add_flag(fmt::format("--{}", tasks.kind), tasks.wanted, tasks.help);
    command->add_option(fmt::format("--{}-tasks", tasks.kind), tasks.tasks, "maximum number of tasks; 0: all")
        ->capture_default_str();
  }
  command->callback([line] {
    line->options.ranks = sharing();
    run(*line);
  });
}

}  // namespace steelyard::tools
