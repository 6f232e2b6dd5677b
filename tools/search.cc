// steelyard search: finds a plan for a size.
#include "jobs/search.h"

#include "base/atomic_file.h"
#include "command.h"
#include "options.h"
#include "progress_line.h"

namespace steelyard::tools {
namespace {

void print_measured(const jobs::SearchMeasurement& at) {
  print_out("  {:12} {:>14} bytes  KLD {:.6f}  same top {:.2f} %", at.plan, at.bytes, at.divergence, 100 * at.same_top);
  if (at.difference != 0) print_out("  difference {:+.6f} ± {:.6f}", at.difference, at.standard_error);
  print_out("\n");
}

void run_search(const jobs::SearchOptions& options, const std::string& json) {
  ProgressLine line;
  const jobs::SearchResult result = jobs::search(options, [&](const jobs::Progress& progress) { line.show(progress); });
  print_out("started from {}, {} bytes of tensor data may be used\n", result.start, result.budget);
  for (const jobs::SearchMeasurement& at : result.measured) print_measured(at);
  if (result.chosen == "start") print_out("nothing is better than {}\n", result.start);
  print_out("wrote {}: {}, {} bytes of tensor data\n", result.output, result.chosen, result.bytes);
  if (!json.empty()) write_file(json, jobs::to_json(result).dump(1) + "\n");
}

}  // namespace

void add_search(CLI::App& app) {
  auto* command = app.add_subcommand(
      "search",
      "find a plan for a size; a plan that is given is what it begins with, otherwise the largest preset that fits");
  auto options = std::make_shared<jobs::SearchOptions>();
  auto json = std::make_shared<std::string>();
  command->add_option("model", options->model, "GGUF file, or the first of its shards")->required();
  add_options(*command, options->source);
  command->add_option("-o,--output", options->output, "plan to write")->required();
  add_options(*command, options->text);
  command->add_option("--imatrix", options->imatrix,
                      "importance matrix that the plan will be used with, instead of --calibrate");
  auto* size = add_bytes(*command, "--size", options->size, "size of the quantized file, at most, e.g. 10.67GiB");
  command->add_option("--bpw", options->bpw, "instead: bits per weight of tensor data, at most")->excludes(size);
  command->add_option("--types", options->types, "types to choose from, between commas")->capture_default_str();
  command->add_option("--effort", options->effort, "search for less error in each tensor: fast, normal, best")
      ->capture_default_str();
  command->add_option("--held-out", options->held_out, "chunks at the end of the text that judge")
      ->capture_default_str();
  command->add_option("--rounds", options->rounds, "proposals that are measured")->capture_default_str();
  command->add_option("--resume", options->resume,
                      "file for what was measured: continue from it if it exists, also for another size");
  command->add_option("--backend", options->backend, "device that computes: cpu or cuda[:N]")->capture_default_str();
  add_threads(*command, options->threads);
  add_bytes(*command, "--memory", options->memory, "memory limit, e.g. 16GiB");
  command->add_option("--json", *json, "file for the results as JSON");
  command->callback([options, json] { run_search(*options, *json); });
}

}  // namespace steelyard::tools
