// steelyard quantize: model + plan (+ imatrix, + calibration text) → GGUF.
#include "jobs/quantize.h"

#include <fmt/ranges.h>

#include <filesystem>
#include <regex>

#include "base/error.h"
#include "command.h"
#include "json_file.h"
#include "options.h"
#include "plan_report.h"
#include "progress_line.h"
#include "sharing.h"

namespace steelyard::tools {
namespace {

void print_rounding(const std::vector<jobs::RoundedTensor>& tensors) {
  print_out(
      "lost output energy on held-out text by rounding method, and number of matrices that use it\n{:40} {:>9}   "
      "    {:>9}       {:>9}\n",
      "", "feedback", "diagonal", "plain");
  for (const jobs::RoundedTensor& tensor : tensors) {
    print_out("{:40}", printable(tensor.name));
    for (size_t w = 0; w < tensor.loss.size(); ++w) print_out(" {:9.6f} {:4} ", tensor.loss[w], tensor.chosen[w]);
    print_out("\n");
  }
}

// The next doubling brings about half of what the last one has brought.
void print_doubling(double half_over_all) {
  constexpr double kWorthwhile = 0.03;
  const double gain = 1.0 - 1.0 / half_over_all;
  print_out("the second half of the calibration text has cut the loss on held-out text by {:.1f} %: {}\n", 100.0 * gain,
            gain > kWorthwhile ? "more text would still help (--chunks)" : "more text would bring little");
}

void print_places(const jobs::QuantizeResult& result, const std::vector<std::string>& backends) {
  const std::string device = fmt::format("{}", fmt::join(backends, ","));
  if (!result.on_device.empty()) print_out("on {}: {}\n", device, fmt::join(result.on_device, " "));
  if (!result.on_processor.empty()) {
    print_out("on the CPU (no encoder on {}): {}\n", device, fmt::join(result.on_processor, " "));
  }
}

void print_costs(const jobs::CalibrationCosts& costs) {
  const auto gib = [](uint64_t bytes) { return static_cast<double>(bytes) / (uint64_t{1} << 30); };
  const auto row = [](const char* name, double size, const char* unit, const std::string& more = "") {
    print_out("{:16} {:8.2f} {}{}\n", name, size, unit, more);
  };
  print_out("calibration on {} tokens\n", costs.n_tokens);
  row("memory", gib(costs.peak), "GiB",
      fmt::format(" at most; {:.2f} GiB allowed, {:.2f} GiB needed", gib(costs.allowed), gib(costs.least)));
  row("  weights", gib(costs.weights + costs.encoded), "GiB, a layer of both models");
  row("  activations", gib(costs.activations + costs.program), "GiB, with the program");
  row("  hidden states", gib(costs.hidden_states), "GiB");
  row("  statistics", gib(costs.statistics), "GiB",
      fmt::format(", {}; {} matri{} at a time", costs.stores_rows ? "inputs of experts stored" : "sums",
                  costs.slices_at_once, costs.slices_at_once == 1 ? "x" : "ces"));
  if (costs.on_device) row("on each device", gib(*costs.on_device), "GiB");
  row("scratch file", gib(costs.scratch), "GiB");
  row("result", gib(costs.output), "GiB");
  const auto work = [&](const char* name, double flop, double seconds) {
    row(name, 1e-12 * flop, "TFLOP", fmt::format(", {:.1f} minutes", seconds / 60));
  };
  work("forward", costs.forward_flop, costs.forward_seconds);
  work("moments", costs.moments_flop, costs.moments_seconds);
  work("factors, F64", costs.factors_flop, costs.factors_seconds);
  work("feedback", costs.feedback_flop, costs.search_seconds);
  print_out("about {:.1f} minutes on this machine, by a short probe; the {:.2f} G weights are searched with feedback\n",
            (costs.forward_seconds + costs.moments_seconds + costs.factors_seconds + costs.search_seconds) / 60,
            1e-9 * costs.searched_weights);
}

void print_workers(const std::vector<jobs::QuantizeWorker>& workers) {
  print_out("matrices rounded:");
  for (const jobs::QuantizeWorker& worker : workers) {
    print_out("{} {} by {} in {:.1f} s", &worker == workers.data() ? "" : ",", worker.matrices, worker.name,
              worker.seconds);
  }
  print_out("\n");
}

void print_times(const jobs::QuantizeTimes& times) {
  print_out("seconds: forward {:.1f}, moments {:.1f}, factors {:.1f}, search {:.1f}, write {:.1f}\n", times.forward,
            times.moments, times.factors, times.search, times.write);
}

// What is known before the work.
void print_decisions(const jobs::QuantizeResult& result, const jobs::QuantizeOptions& options) {
  write_out(plan_report(result.plan));
  if (result.costs) print_costs(*result.costs);
  if (options.dry_run) return;
  print_out("encoding with {}, {} thread{}\n", result.instruction_set, result.threads, result.threads == 1 ? "" : "s");
  print_places(result, options.backend);
  std::fflush(stdout);
}

// "quantize in.gguf Q4_K_M" writes in-Q4_K_M.gguf beside in.gguf. Of a model in shards, the shards' numbers are left
// out.
void name_output(jobs::QuantizeOptions& options) {
  if (options.source.given() || !options.from.empty()) return;
  const std::string name = jobs::plan_name(options.output);
  if (name.empty()) return;
  options.source.type = options.output;
  const std::filesystem::path model(options.model);
  std::string stem = model.extension() == ".gguf" ? model.stem().string() : model.filename().string();
  stem = std::regex_replace(stem, std::regex("-[0-9]{5}-of-[0-9]{5}$"), "");
  options.output = (model.parent_path() / (stem + "-" + name + ".gguf")).string();
}

void run_quantize(jobs::QuantizeOptions& options, const JsonFile& json) {
  name_output(options);
  if (cluster::leads(options.ranks)) {
    json.check({options.model, options.imatrix, options.source.plan, jobs::TextSource::parse(options.calibrate).file},
               {options.output});
  }
  ProgressLine line(ProgressLine::Elsewhere::kLines);
  const jobs::QuantizeResult result = jobs::quantize(options, [&](const jobs::Progress& progress) {
    if (progress.stage != "plan") return line.show(progress);
    jobs::QuantizeResult known;
    jobs::read_json(progress.data, known, "plan");
    print_decisions(known, options);
  });
  if (cluster::leads(options.ranks)) json.write(result);
  if (options.dry_run) return;
  write_out(findings_text(result.findings));
  if (result.writing) print_writing(*result.writing);
  if (result.conversations) print_conversations(*result.conversations);
  if (!options.calibrate.empty()) print_rounding(result.rounding);
  if (result.half_text_loss > 0) print_doubling(result.half_text_loss);
  if (result.times) print_times(*result.times);
  if (!result.workers.empty()) print_workers(result.workers);
  if (result.tuning) print_tuning(*result.tuning);
  print_out("wrote {}: {} bytes, {:.4f} bits per weight{}\n", fmt::join(result.paths, " "), result.bytes,
            result.bits_per_weight, options.verify ? ", read back and verified" : "");
}

}  // namespace

void add_quantize(CLI::App& app) {
  auto* command = app.add_subcommand("quantize", "quantize a model with a plan");
  auto options = std::make_shared<jobs::QuantizeOptions>();
  auto json = std::make_shared<JsonFile>();
  command->add_option("model", options->model, "GGUF model, or the first of its shards")->required();
  command->add_option("output", options->output,
                      "GGUF file to write; a type or preset here: MODEL-TYPE.gguf beside the model");
  auto* from = command->add_option("--from", options->from,
                                   "reproduce FILE: plan and flags are read from its "
                                   "metadata");
  // A repetition takes nothing from the command line that would make it another run.
  const size_t n_before = command->get_options().size();
  add_options(*command, options->source);
  add_options(*command, options->shaping);
  const std::vector<CLI::Option*> all = command->get_options({});
  for (size_t i = n_before; i < all.size(); ++i) from->excludes(all[i]);
  add_strict(*command, options->strict);
  command->add_option("--imatrix", options->imatrix, "importance matrix, GGUF or .dat");
  command->add_option("--calibrate", options->calibrate,
                      "calibration text: quantize layer by layer with LDLQ/GPTQ error feedback; self: the model "
                      "writes it, self:N that many tokens, self+FILE a part");
  add_options(*command, options->files);
  add_options(*command, options->conversations, options->shaping.conversations_share);
  auto* size = add_bytes(
      *command, "--size", options->size,
      "with --calibrate: size of the file, at most; a plan for it is searched first, and kept as OUTPUT.plan");
  auto* context = command->get_option("--ctx-size");
  context->description(
      "with --calibrate: tokens per chunk; with --vram the context that devices have room for, and chunks of 512 "
      "tokens "
      "at most");
  add_options(*command, options->devices)
      ->description(
          "instead of --size: fill the memory of devices, each of this size: 16GiB, 24GiBx6, or a list: "
          "24GiBx2,16GiB")
      ->needs(context)
      ->excludes(size);
  add_options(*command, options->steering);
  auto* tune = command->add_flag("--tune", options->tune,
                                 "with --calibrate: tune norms, routers and block scales to the model afterwards, on "
                                 "the same text");
  from->excludes(tune);
  add_options(*command, options->tuning);
  add_backends(
      *command, options->backend,
      "where rows are encoded, with the same bytes: cpu or cuda[:N], or a comma-separated list, all at the same "
      "time; with --calibrate also where the text passes, whose activations differ in their last digits");
  add_threads(*command, options->threads);
  add_bytes(*command, "--slab", options->slab, "buffer for tensors in flight, at most this size: 1GiB, 200MB, ...");
  add_bytes(*command, "--memory", options->memory,
            "with --calibrate: memory to use at most, e.g. 16GiB; what has no room goes to a scratch file beside the "
            "result");
  auto* resume = command->add_flag("--resume", options->resume,
                                   "continue an interrupted run with the same output "
                                   "file");
  command->add_flag("--restart", options->restart, "discard the results of an interrupted run")->excludes(resume);
  command->add_flag("--verify", options->verify, "read the result back from disk before it gets its final name");
  command->add_flag("--dry-run", options->dry_run,
                    "show type and size of every tensor, check everything, write "
                    "nothing");
  json->add(*command);
  command->callback([options, json] {
    options->ranks = sharing();
    run_quantize(*options, *json);
  });
}

}  // namespace steelyard::tools
