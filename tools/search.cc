// steelyard search: finds a plan for a size, or for the memory of devices.
#include "jobs/search.h"

#include <fmt/ranges.h>

#include "command.h"
#include "json_file.h"
#include "options.h"
#include "plan_report.h"
#include "progress_line.h"

namespace steelyard::tools {
namespace {

void print_measured(const jobs::SearchMeasurement& at) {
  print_out("  {:12} {:>14} bytes  KLD {:.6f}  same top {:.2f} %", at.plan, at.bytes, at.divergence, 100 * at.same_top);
  if (at.difference != 0) print_out("  difference {:+.6f} ± {:.6f}", at.difference, at.standard_error);
  print_out("\n");
}

void print_limit(const jobs::RuleLimit& limit) {
  print_out("at most {} rules: {} instead of {}, and a predicted divergence of {:.6f} instead of {:.6f}\n",
            limit.max_rules, limit.rules, limit.rules_without, limit.divergence, limit.divergence_without);
}

// A device that is not full has its largest types, or a plan that was not made for it.
void print_devices(const jobs::SearchResult& result) {
  constexpr double kFull = 0.98;
  bool is_full = true;
  for (size_t d = 0; d < result.devices.size(); ++d) {
    const jobs::FitDevice& device = result.devices[d];
    const double share = static_cast<double>(device.needed) / static_cast<double>(device.free);
    is_full = is_full && share >= kFull;
    print_out("  device {}: {} layers, {} of {} bytes ({:.2f} %)\n", d, device.n_layers, device.needed, device.free,
              100 * share);
  }
  if (!is_full && result.has_largest_types)
    print_out("room is left: every tensor has the largest of --types\n");
  else if (!is_full)
    print_out("room is left on a device\n");
  if (!result.tensor_split.empty()) print_out("run it with --tensor-split {}\n", fmt::join(result.tensor_split, ","));
}

void run_search(const jobs::SearchOptions& options, const JsonFile& json) {
  json.check({options.model, options.text.file, options.imatrix}, {options.output, options.resume, options.report});
  ProgressLine line;
  const jobs::SearchResult result = jobs::search(options, [&](const jobs::Progress& progress) { line.show(progress); });
  write_out(findings_text(result.findings));
  print_out("started from {}, {} bytes of tensor data may be used\n", result.start, result.budget);
  for (const jobs::SearchMeasurement& at : result.measured) print_measured(at);
  if (result.chosen == "start") print_out("nothing is better than {}\n", result.start);
  if (result.limit) print_limit(*result.limit);
  print_out("wrote {}: {}, {} bytes of tensor data\n", result.output, result.chosen, result.bytes);
  print_devices(result);
  if (!options.report.empty()) print_out("wrote {}\n", options.report);
  json.write(result);
}

}  // namespace

void add_search(CLI::App& app) {
  auto* command = app.add_subcommand("search",
                                     "find a plan for a size or for the memory of devices; a plan that is given is "
                                     "what it begins with, otherwise the largest preset that fits");
  auto options = std::make_shared<jobs::SearchOptions>();
  auto json = std::make_shared<JsonFile>();
  command->add_option("model", options->model, "GGUF file, or the first of its shards")->required();
  add_options(*command, options->source);
  command->add_option("-o,--output", options->output, "plan to write")->required();
  command->add_option("--report", options->report, "HTML file to write: what was found, with pictures");
  add_options(*command, options->text);
  add_options(*command, options->conversations, options->conversations_share);
  command->add_option("--imatrix", options->imatrix,
                      "importance matrix that the plan will be used with, instead of --calibrate");
  auto* context = command->get_option("--ctx-size");
  context->description(
      "tokens per chunk; with --vram the context that devices have room for, and chunks of 512 tokens at most");
  auto* size = add_bytes(*command, "--size", options->size, "size of the quantized file, at most, e.g. 10.67GiB");
  auto* bpw = command->add_option("--bpw", options->bpw, "instead: bits per weight of tensor data, at most");
  bpw->excludes(size);
  add_options(*command, options->devices)
      ->description("instead: fill the memory of devices, each of this size: 16GiB, 24GiBx6, or a list: 24GiBx2,16GiB")
      ->needs(context)
      ->excludes(size)
      ->excludes(bpw);
  add_options(*command, options->steering);
  command->add_option("--types", options->types, "types to choose from, between commas")->capture_default_str();
  command->add_option("--effort", options->effort, "search for less error in each tensor: fast, normal, best")
      ->capture_default_str();
  command->add_option("--held-out", options->held_out, "chunks at the end of the text that judge")
      ->capture_default_str();
  command->add_option("--rounds", options->rounds, "proposals that are measured")->capture_default_str();
  add_time(*command, "--time", options->time,
           "time, at most: 90, 90s, 20m, 2h; proposals are fewer then, one at least");
  command->add_option("--resume", options->resume,
                      "file for what was measured: continue from it if it exists, also for another size");
  command->add_option("--backend", options->backend, "device that computes: cpu or cuda[:N]")->capture_default_str();
  add_threads(*command, options->threads);
  add_bytes(*command, "--memory", options->memory, "memory limit, e.g. 16GiB");
  json->add(*command);
  command->callback([options, json] { run_search(*options, *json); });
}

}  // namespace steelyard::tools
