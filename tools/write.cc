// steelyard write: a model writes text by itself, to be calibrated on.
#include "jobs/write.h"

#include "command.h"
#include "options.h"
#include "progress_line.h"

namespace steelyard::tools {
namespace {

void run_write(const jobs::WriteOptions& options) {
  ProgressLine line;
  const jobs::WriteResult result = jobs::write(options, [&](const jobs::Progress& progress) { line.show(progress); });
  print_writing(result.figures);
  print_out("wrote {}\n", result.output_file);
}

}  // namespace

void add_write(CLI::App& app) {
  auto* command = app.add_subcommand("write", "let a model write text by itself, to calibrate on");
  auto options = std::make_shared<jobs::WriteOptions>();
  add_options(*command, options->model);
  command->add_option("-o,--output-file", options->output_file, "output file: JSON lines with ids and text");
  command->add_option("-c,--ctx-size", options->ctx_size, "tokens per chunk")->capture_default_str();
  command->add_option("--chunks", options->chunks, "number of chunks")->capture_default_str();
  add_options(*command, options->writing);
  command
      ->add_option("--parallel", options->parallel,
                   "chunks at a time; on the CPU the text does not depend on it; default: as many as pay off and fit")
      ->check(CLI::NonNegativeNumber);
  add_options(*command, options->resume);
  command->callback([options] { run_write(*options); });
}

}  // namespace steelyard::tools
