// steelyard tune: tunes norms, routers and block scales of a quantized file to the model that it was made from.
#include "jobs/tune.h"

#include "command.h"
#include "options.h"
#include "progress_line.h"

namespace steelyard::tools {
namespace {

void run_tune(const jobs::TuneOptions& options) {
  ProgressLine line;
  const jobs::TuneResult result = jobs::tune(options, [&](const jobs::Progress& progress) { line.show(progress); });
  print_tuning(result);
  print_out("wrote {}: {} bytes\n", result.output, result.bytes);
}

}  // namespace

void add_tune(CLI::App& app) {
  auto* command =
      app.add_subcommand("tune", "tune norms, routers and block scales of a quantized file to its original");
  auto options = std::make_shared<jobs::TuneOptions>();
  command->add_option("model", options->model, "quantized GGUF file, or the first of its shards")->required();
  command->add_option("-o,--output", options->output, "GGUF file to write")->required();
  add_options(*command, options->text);
  auto* base = command->add_option("--kl-divergence-base", options->kl_divergence_base,
                                   "base file of the original for this text (perplexity --kl-divergence-base); without "
                                   "-f, its text");
  command->add_option("--teacher", options->teacher, "the original: its distributions are computed first")
      ->excludes(base);
  command
      ->add_option("--own-share", options->own_share, "with -f self+FILE: share of the chunks that the teacher writes")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  add_options(*command, options->writing);
  add_options(*command, options->files);
  add_options(*command, options->conversations, options->conversations_share);
  add_options(*command, options->tuning);
  add_time(*command, "--time", options->time, "time for tuning, at most: 90, 90s, 20m, 2h; steps are fewer then");
  command->add_option("--backend", options->backend, "device that computes: cpu or cuda[:N]")->capture_default_str();
  add_threads(*command, options->threads);
  add_bytes(*command, "--memory", options->memory, "memory limit, e.g. 16GiB");
  add_options(*command, options->resume);
  command->callback([options] { run_tune(*options); });
}

}  // namespace steelyard::tools
