// steelyard tune: tunes norms, routers and block scales of a quantized file to the model that it was made from.
#include "jobs/tune.h"

#include "command.h"
#include "options.h"
#include "progress_line.h"

namespace steelyard::tools {
namespace {

void run_tune(const jobs::TuneOptions& options) {
  ProgressLine line;
  const jobs::TuneResult result = jobs::tune(options, [&](const jobs::Progress& progress) {
    if (progress.stage == "tune" && !progress.data.is_null())
      print_out("step {}: held out {:.6f} (before {:.6f}), training {:.6f}\n", progress.done,
                progress.data["divergence"].get<double>(), progress.data["before"].get<double>(),
                progress.data["training"].get<double>());
    else
      line.show(progress);
  });
  print_out("wrote {}\n", result.output);
}

}  // namespace

void add_tune(CLI::App& app) {
  auto* command =
      app.add_subcommand("tune", "tune what is free in a quantized file to the model that it was made from");
  auto options = std::make_shared<jobs::TuneOptions>();
  command->add_option("model", options->model, "quantized GGUF file")->required();
  command->add_option("-o,--output", options->output, "output file")->required();
  add_options(*command, options->text);
  command->add_option("--kl-divergence-base", options->kl_divergence_base, "base");
  command->add_option("--teacher", options->teacher, "teacher");
  command->add_option("--backend", options->backend, "backend");
  command->add_option("--threads", options->threads, "threads");
  command->add_option("--steps", options->tuning.steps, "");
  command->add_option("--step-chunks", options->tuning.step_chunks, "");
  command->add_option("--held-out", options->tuning.held_out, "");
  command->add_option("--compare-every", options->tuning.compare_every, "");
  command->add_option("--rate-vectors", options->tuning.rate_vectors, "");
  command->add_option("--rate-routers", options->tuning.rate_routers, "");
  command->add_option("--rate-scales", options->tuning.rate_scales, "");
  command->add_option("--tune-seed", options->tuning.tune_seed, "");
  command->callback([options] { run_tune(*options); });
}

}  // namespace steelyard::tools
