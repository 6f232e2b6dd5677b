// steelyard bench: a model's speed over the length of its context, the energy that takes, and what the machine could do
// at best.
#include "jobs/bench.h"

#include <fmt/format.h>

#include <cstdio>
#include <filesystem>

#include "base/atomic_file.h"
#include "base/error.h"
#include "command.h"
#include "jobs/outputs.h"
#include "json_file.h"
#include "options.h"
#include "progress_line.h"

namespace steelyard::tools {
namespace {

using jobs::BenchContext;
using jobs::BenchResult;

struct CommandLine {
  jobs::BenchOptions options;
  JsonFile json;
  std::string svg;
};

std::string context_name(int64_t n) {
  return n > 0 && n % 1024 == 0 ? fmt::format("{}K", n / 1024) : fmt::format("{}", n);
}

// A figure times `factor`, with so many digits behind the point.
std::string figure(const std::optional<double>& value, int digits, double factor = 1) {
  return value ? fmt::format("{:.{}f}", *value * factor, digits) : "-";
}

void print_head(const jobs::BenchResult& machine) {
  print_out("{}: {}, {} threads\n", printable(std::filesystem::path(machine.model).filename().string()),
            machine.settings, machine.threads);
  if (machine.bandwidth) {
    print_out(
        "machine at best: {:.1f} G products/s (a prompt token takes {:.4f} G), {:.1f} GB/s (decoding a token reads "
        "{:.4f} GB)\n",
        *machine.f32_products_per_second * 1e-9, *machine.products_per_token * 1e-9, *machine.bandwidth * 1e-9,
        *machine.bytes_per_token * 1e-9);
  }
  for (const std::string& meter : machine.meters) print_out("energy counter: {}\n", meter);
  for (const std::string& absent : machine.no_meters) print_out("no energy counter: {}\n", absent);
  print_out("{:>8} {:>12} {:>12} {:>12}", "context", "first token", "prefill", "decode");
  if (machine.bandwidth) print_out(" {:>10} {:>10}", "% products", "% memory");
  print_out(" {:>10} {:>10} {:>12}\n", "prefill W", "decode W", "tokens/kWh");
}

void print_row(const jobs::BenchContext& row, const jobs::BenchResult& machine) {
  print_out("{:>8} {:>12} {:>12} {:>12}", context_name(row.context),
            figure(row.first_token_seconds, 3) + (row.first_token_seconds ? " s" : ""),
            figure(row.prefill_tokens_per_second, 1), figure(row.decode_tokens_per_second, 1));
  if (machine.bandwidth) {
    print_out(
        " {:>10} {:>10}",
        figure(row.prefill_tokens_per_second, 1, 100 * *machine.products_per_token / *machine.f32_products_per_second),
        figure(row.decode_tokens_per_second, 1, 100 * *machine.bytes_per_token / *machine.bandwidth));
  }
  print_out(" {:>10} {:>10} {:>12}\n", figure(row.prefill_watts, 1), figure(row.decode_watts, 1),
            figure(row.decode_tokens_per_kwh, 0));
}

void run(const CommandLine& line) {
  line.json.check({line.options.model.model});
  if (!line.svg.empty()) jobs::check_output(line.svg, {line.options.model.model}, {line.json.path()});
  jobs::BenchResult machine;
  const jobs::BenchResult result = jobs::bench(line.options, [&](const jobs::Progress& progress) {
    if (progress.stage == "contexts") {
      jobs::BenchContext row;
      jobs::read_json(progress.data, row, "");
      print_row(row, machine);
    } else {
      jobs::read_json(progress.data, machine, "");
      if (progress.stage == "machine") print_head(machine);
      if (progress.stage == "left_out") {
        for (const auto& [n, why] : machine.left_out) print_out("{} is left out: {}\n", context_name(n), why);
      }
    }
  });
  line.json.write(result);
  if (!line.svg.empty()) write_file(line.svg, jobs::plot(result));
}

}  // namespace

void add_bench(CLI::App& app) {
  auto* command = app.add_subcommand("bench", "speed and energy over context length");
  auto line = std::make_shared<CommandLine>();
  jobs::BenchOptions& options = line->options;
  add_options(*command, options.model);
  command
      ->add_option("-c,--contexts", options.contexts,
                   "prompt lengths in tokens, e.g. 0,512,4096; default: 4096 to 131072")
      ->delimiter(',')
      ->check(CLI::Range(int64_t{0}, int64_t{INT32_MAX}));
  command->add_option("-n,--n-gen", options.n_gen, "number of tokens to decode after each prompt; 0: none")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  command->add_option("-b,--batch-size", options.batch_size, "prompt tokens per batch")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command->add_option("-r,--repetitions", options.repetitions, "number of rounds; the best one is reported")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  line->json.add(*command);
  command->add_option("--svg", line->svg, "write a plot of speed over context to this SVG file");
  command->add_option("--powercap", options.powercap, "folder of the CPU's energy counters (RAPL)")
      ->capture_default_str();
  command
      ->add_option("--nvml", options.nvml,
                   "NVIDIA management library, for the GPUs' energy "
                   "counters")
      ->capture_default_str();
  command->callback([line] { run(*line); });
}

}  // namespace steelyard::tools
