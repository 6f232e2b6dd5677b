// steelyard bench: a model's speed over context length, the energy that this takes, and the limits of the machine.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/parallel.h"
#include "command.h"
#include "compute/devices.h"
#include "measure/speed.h"
#include "measure/speed_plot.h"
#include "schedule/memory_plan.h"
#include "schedule/room.h"
#include "schedule/session.h"

namespace steelyard::tools {
namespace {

using Json = nlohmann::ordered_json;

struct Options {
  ModelOptions model;
  std::vector<int64_t> contexts = {4096, 8192, 16384, 32768, 65536, 131072};
  SpeedOptions speed;
  std::string json, svg, powercap = kPowercap, nvml = kNvml;
};

/// The least that one token can cost, by the machine's rates. Nothing where these are not the host's.
struct Bounds {
  TokenCost cost;
  double bandwidth, product_rate;
};

struct Measured {
  std::vector<ContextSpeed> speeds;
  std::vector<std::pair<int64_t, std::string>> left_out;  ///< contexts, and why
};

std::string context_name(int64_t n) {
  return n > 0 && n % 1024 == 0 ? fmt::format("{}K", n / 1024) : fmt::format("{}", n);
}

std::string watts(const std::optional<Rate>& rate) {
  return rate && rate->watts ? fmt::format("{:.1f}", *rate->watts) : "-";
}

std::string share(double part) { return fmt::format("{:.1f}", 100 * part); }

void print_head(bool bounds) {
  fmt::print("{:>8} {:>12} {:>12} {:>12}", "context", "first token", "prefill", "decode");
  if (bounds) fmt::print(" {:>10} {:>10}", "% products", "% memory");
  fmt::print(" {:>10} {:>10} {:>12}\n", "prefill W", "decode W", "tokens/kWh");
}

void print_row(const ContextSpeed& speed, const std::optional<Bounds>& bounds) {
  const auto rate = [](const std::optional<Rate>& of) {
    return of ? fmt::format("{:.1f}", of->tokens_per_second) : "-";
  };
  fmt::print("{:>8} {:>12} {:>12} {:>12}", context_name(speed.n_context),
             speed.prefill ? fmt::format("{:.3f} s", speed.first_token) : "-", rate(speed.prefill), rate(speed.decode));
  if (bounds) {
    const auto& [cost, bandwidth, product_rate] = *bounds;
    fmt::print(" {:>10} {:>10}",
               speed.prefill ? share(speed.prefill->tokens_per_second * cost.products / product_rate) : "-",
               speed.decode ? share(speed.decode->tokens_per_second * cost.bytes / bandwidth) : "-");
  }
  const auto per_kwh = speed.decode ? speed.decode->tokens_per_kwh() : std::nullopt;
  fmt::print(" {:>10} {:>10} {:>12}\n", watts(speed.prefill), watts(speed.decode),
             per_kwh ? fmt::format("{:.0f}", *per_kwh) : "-");
  std::fflush(stdout);
}

// Contexts in ascending order, without those for which the model or memory has no room.
std::vector<int64_t> feasible(const Options& options, const Model& model, Measured& measured) {
  const ModelConfig& config = model.config();
  const int64_t n_decode = options.speed.n_decode;
  MemoryRequest request{0, 1, options.speed.n_batch, 1, model.cache_types()};
  const int64_t room =
      largest_context(model.reader(), config, request, [&](const MemoryPlan& plan) { return has_room(model, plan); });
  std::vector<int64_t> contexts = options.contexts, rest;
  std::ranges::sort(contexts);
  contexts.erase(std::unique(contexts.begin(), contexts.end()), contexts.end());
  for (const int64_t n : contexts) {
    if (n + n_decode > config.n_context)
      measured.left_out.emplace_back(
          n, fmt::format("with {} tokens after it, it is beyond the model's {}", n_decode, config.n_context));
    else if (n + n_decode > room)
      measured.left_out.emplace_back(n, fmt::format("memory has room for {} tokens", room));
    else
      rest.push_back(n);
  }
  return rest;
}

EnergyMeters open_meters(const Options& options) {
  EnergyMeters meters;
  add_rapl(meters, options.powercap);
  std::vector<std::string> addresses;
  for (const std::string& name : options.model.backend_names()) {
    if (const std::string address = device_address(name); !address.empty()) addresses.push_back(address);
  }
  add_nvml(meters, addresses, options.nvml);
  return meters;
}

Json to_json(const Options& options, const Measured& measured, const EnergyMeters& meters,
             const std::optional<Bounds>& bounds) {
  const auto rate = [](const std::optional<Rate>& of) -> Json { return of ? Json(of->tokens_per_second) : Json(); };
  const auto power = [](const std::optional<Rate>& of) -> Json { return of && of->watts ? Json(*of->watts) : Json(); };
  Json report = {{"model", options.model.path()},
                 {"settings", options.model.settings()},
                 {"backends", options.model.backend_names()},
                 {"threads", omp_get_max_threads()},
                 {"n_decode", options.speed.n_decode},
                 {"n_batch", options.speed.n_batch},
                 {"contexts", Json::array()},
                 {"left_out", Json::array()},
                 {"meters", Json::array()},
                 {"no_meters", meters.absent}};
  for (const ContextSpeed& speed : measured.speeds) {
    const auto per_kwh = speed.decode ? speed.decode->tokens_per_kwh() : std::nullopt;
    report["contexts"].push_back({{"context", speed.n_context},
                                  {"first_token_seconds", speed.prefill ? Json(speed.first_token) : Json()},
                                  {"prefill_tokens_per_second", rate(speed.prefill)},
                                  {"decode_tokens_per_second", rate(speed.decode)},
                                  {"prefill_watts", power(speed.prefill)},
                                  {"decode_watts", power(speed.decode)},
                                  {"decode_tokens_per_kwh", per_kwh ? Json(*per_kwh) : Json()}});
  }
  for (const auto& [n, why] : measured.left_out) report["left_out"].push_back({{"context", n}, {"why", why}});
  for (const auto& meter : meters.meters) report["meters"].push_back(meter->name());
  if (bounds) {
    report["bytes_per_token"] = bounds->cost.bytes;
    report["products_per_token"] = bounds->cost.products;
    report["bandwidth"] = bounds->bandwidth;
    report["f32_products_per_second"] = bounds->product_rate;
  }
  return report;
}

void run_bench(Options& options) {
  for (const std::string& output : {options.json, options.svg}) {
    if (!output.empty()) check_output(output, {options.model.path()});
  }
  options.model.open(std::ranges::max(options.contexts) + options.speed.n_decode);
  const Model& model = options.model.model();
  Measured measured;
  const std::vector<int64_t> contexts = feasible(options, model, measured);
  for (const auto& [n, why] : measured.left_out) fmt::print("{} is left out: {}\n", context_name(n), why);
  if (contexts.empty()) fail("", "no context is left to measure");
  if (contexts.back() == 0 && options.speed.n_decode == 0) fail("", "an empty context and -n 0: nothing to measure");

  const std::string title = std::filesystem::path(options.model.path()).filename().string();
  const std::string subtitle = fmt::format("{}, {} threads", options.model.settings(), omp_get_max_threads());
  EnergyMeters meters = open_meters(options);
  std::optional<Bounds> bounds;
  if (!model.backend().free_memory()) {
    bounds = {token_cost(model.reader(), model.config()), measure_bandwidth(), measure_product_rate(model.backend())};
  }
  fmt::print("{}: {}\n", printable(title), subtitle);
  if (bounds) {
    fmt::print(
        "at best {:.1f} G products/s, of which a prompt's token takes {:.4f} G, and {:.1f} GB/s, of which decoding one "
        "takes {:.4f} GB\n",
        bounds->product_rate * 1e-9, bounds->cost.products * 1e-9, bounds->bandwidth * 1e-9, bounds->cost.bytes * 1e-9);
  }
  for (const auto& meter : meters.meters) fmt::print("energy of {}\n", meter->name());
  for (const std::string& absent : meters.absent) fmt::print("no energy of {}\n", absent);
  print_head(bounds.has_value());

  Session session(model, contexts.back() + options.speed.n_decode);
  warm_up(model, session, contexts.back(), options.speed);
  for (const int64_t n : contexts) {
    measured.speeds.push_back(measure_speed(model, session, n, options.speed, meters));
    print_row(measured.speeds.back(), bounds);
  }
  if (!options.json.empty()) {
    write_file(options.json, to_json(options, measured, meters, bounds).dump(1) + "\n");
  }
  if (!options.svg.empty()) write_file(options.svg, speed_plot(measured.speeds, title, subtitle));
}

}  // namespace

void add_bench(CLI::App& app) {
  auto* command = app.add_subcommand("bench", "speed and energy over the length of the context");
  auto options = std::make_shared<Options>();
  options->model.add_to(*command, "fast");
  command
      ->add_option("-c,--contexts", options->contexts,
                   "tokens of the prompts, e.g. 0,512,4096; by default 4096 to 131072")
      ->delimiter(',')
      ->check(CLI::Range(int64_t{0}, int64_t{INT32_MAX}));
  command->add_option("-n,--n-gen", options->speed.n_decode, "tokens to decode after each prompt; 0: none")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  command->add_option("-b,--batch-size", options->speed.n_batch, "tokens of a prompt that go through the model at once")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command->add_option("-r,--repetitions", options->speed.n_rounds, "rounds, of which the best counts")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_option("--json", options->json, "write the figures here");
  command->add_option("--svg", options->svg, "draw speed over context here");
  command->add_option("--powercap", options->powercap, "folder of the processor's meters of energy")
      ->capture_default_str();
  command->add_option("--nvml", options->nvml, "library that knows the GPUs' meters of energy")->capture_default_str();
  command->callback([options] { run_bench(*options); });
}

}  // namespace steelyard::tools
