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
#include "options.h"
#include "progress_line.h"

namespace steelyard::tools {
namespace {

using jobs::BenchContext;
using jobs::BenchResult;

struct CommandLine {
  jobs::BenchOptions options;
  std::string json, svg;
};

std::string context_name(int64_t n) {
  return n > 0 && n % 1024 == 0 ? fmt::format("{}K", n / 1024) : fmt::format("{}", n);
}

// A figure times `factor`, with so many digits behind the point.
std::string figure(const std::optional<double>& value, int digits, double factor = 1) {
  return value ? fmt::format("{:.{}f}", *value * factor, digits) : "-";
}

void print_head(const BenchResult& machine) {
  print_out("{}: {}, {} threads\n", printable(std::filesystem::path(machine.model).filename().string()),
            machine.settings, machine.threads);
  if (machine.bandwidth) {
    print_out(
        "at best {:.1f} G products/s, of which a prompt's token takes {:.4f} G, and {:.1f} GB/s, of which decoding one "
        "takes {:.4f} GB\n",
        *machine.f32_products_per_second * 1e-9, *machine.products_per_token * 1e-9, *machine.bandwidth * 1e-9,
        *machine.bytes_per_token * 1e-9);
  }
  for (const std::string& meter : machine.meters) print_out("energy of {}\n", meter);
  for (const std::string& absent : machine.no_meters) print_out("no energy of {}\n", absent);
  print_out("{:>8} {:>12} {:>12} {:>12}", "context", "first token", "prefill", "decode");
  if (machine.bandwidth) print_out(" {:>10} {:>10}", "% products", "% memory");
  print_out(" {:>10} {:>10} {:>12}\n", "prefill W", "decode W", "tokens/kWh");
}

void print_row(const BenchContext& row, const BenchResult& machine) {
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
  for (const std::string& output : {line.json, line.svg}) {
    if (!output.empty()) jobs::check_output(output, {line.options.model.model});
  }
  BenchResult machine;
  const BenchResult result = jobs::bench(line.options, [&](const jobs::Progress& progress) {
    if (progress.stage == "contexts") {
      BenchContext row;
      jobs::read_json(progress.data, row, "");
      print_row(row, machine);
    } else {
      jobs::read_json(progress.data, machine, "");
      if (progress.stage == "machine") print_head(machine);
      if (progress.stage == "left_out") {
        for (const auto& [n, why] : machine.left_out) print_out("{} is left out: {}\n", context_name(n), why);
      }
    }
    std::fflush(stdout);
  });
  if (!line.json.empty()) write_file(line.json, jobs::to_json(result).dump(1) + "\n");
  if (!line.svg.empty()) write_file(line.svg, jobs::plot(result));
}

}  // namespace

void add_bench(CLI::App& app) {
  auto* command = app.add_subcommand("bench", "speed and energy over the length of the context");
  auto line = std::make_shared<CommandLine>();
  jobs::BenchOptions& options = line->options;
  add_options(*command, options.model);
  command
      ->add_option("-c,--contexts", options.contexts,
                   "tokens of the prompts, e.g. 0,512,4096; by default 4096 to 131072")
      ->delimiter(',')
      ->check(CLI::Range(int64_t{0}, int64_t{INT32_MAX}));
  command->add_option("-n,--n-gen", options.n_gen, "tokens to decode after each prompt; 0: none")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  command->add_option("-b,--batch-size", options.batch_size, "tokens of a prompt that go through the model at once")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command->add_option("-r,--repetitions", options.repetitions, "rounds, of which the best counts")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_option("--json", line->json, "write the figures here");
  command->add_option("--svg", line->svg, "draw speed over context here");
  command->add_option("--powercap", options.powercap, "folder of the processor's meters of energy")
      ->capture_default_str();
  command->add_option("--nvml", options.nvml, "library that knows the GPUs' meters of energy")->capture_default_str();
  command->callback([line] { run(*line); });
}

}  // namespace steelyard::tools
