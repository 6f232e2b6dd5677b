#include "jobs/bench.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/mapped_file.h"
#include "base/parallel.h"
#include "compute/backends.h"
#include "jobs/source.h"
#include "measure/speed.h"
#include "measure/speed_plot.h"
#include "schedule/memory_check.h"
#include "schedule/memory_plan.h"

namespace steelyard::jobs {
namespace {

void check(const BenchOptions& options) {
  if (options.contexts.empty()) fail("", "no context to measure");
  for (const int64_t n : options.contexts) {
    if (n < 0 || n > INT32_MAX) fail("", "a context of {} tokens, expected 0 to {}", n, INT32_MAX);
  }
  constexpr int64_t kMost = 1 << 20;
  const auto in_range = [](const char* what, int64_t value, int64_t least, int64_t most) {
    if (value < least || value > most) fail("", "{}: expected {} to {}, found {}", what, least, most, value);
  };
  in_range("--n-gen", options.n_gen, 0, kMost);
  in_range("--batch-size", options.batch_size, 1, kMost);
  in_range("--repetitions", options.repetitions, 1, 1000);
}

// Contexts in ascending order, without those for which the model or memory has no room.
std::vector<int64_t> feasible(const BenchOptions& options, const model::Model& model,
                              std::vector<BenchLeftOut>& left_out) {
  const model::ModelConfig& config = model.config();
  const schedule::MemoryRequest request{0, 1, options.batch_size, 1, model.cache_types()};
  const int64_t room = largest_context(model.reader(), config, request,
                                       [&](const schedule::MemoryPlan& plan) { return fits_memory(model, plan); });
  std::vector<int64_t> contexts = options.contexts, rest;
  std::ranges::sort(contexts);
  contexts.erase(std::unique(contexts.begin(), contexts.end()), contexts.end());
  for (const int64_t n : contexts) {
    if (n + options.n_gen > config.n_context)
      left_out.push_back({n, fmt::format("with {} tokens after it, it exceeds the model's context of {}", options.n_gen,
                                         config.n_context)});
    else if (n + options.n_gen > room)
      left_out.push_back({n, fmt::format("memory has room for {} tokens", room)});
    else
      rest.push_back(n);
  }
  return rest;
}

measure::EnergyMeters open_meters(const BenchOptions& options, const std::vector<std::string>& backends) {
  measure::EnergyMeters meters;
  add_rapl(meters, options.powercap);
  std::vector<std::string> addresses;
  for (const std::string& name : backends) {
    if (const std::string address = compute::device_address(name); !address.empty()) addresses.push_back(address);
  }
  add_nvml(meters, addresses, options.nvml);
  return meters;
}

BenchContext describe(const measure::ContextSpeed& speed) {
  BenchContext row{.context = speed.n_context};
  if (speed.prefill) {
    row.first_token_seconds = speed.first_token;
    row.prefill_tokens_per_second = speed.prefill->tokens_per_second;
    row.prefill_watts = speed.prefill->watts;
  }
  if (speed.decode) {
    row.decode_tokens_per_second = speed.decode->tokens_per_second;
    row.decode_watts = speed.decode->watts;
    row.decode_tokens_per_kwh = speed.decode->tokens_per_kwh();
  }
  return row;
}

measure::ContextSpeed speed_of(const BenchContext& row) {
  const auto rate = [](const std::optional<double>& speed, const std::optional<double>& watts) {
    return speed ? std::optional(measure::Rate{*speed, watts}) : std::nullopt;
  };
  return {row.context, row.first_token_seconds.value_or(0), rate(row.prefill_tokens_per_second, row.prefill_watts),
          rate(row.decode_tokens_per_second, row.decode_watts)};
}

}  // namespace

BenchResult bench(const BenchOptions& options, const ProgressCallback& progress) {
  check(options);
  const OpenModel open(options.model, std::ranges::max(options.contexts) + options.n_gen);
  const model::Model& model = open.model();
  BenchResult result;
  const std::vector<int64_t> contexts = feasible(options, model, result.left_out);
  if (progress && !result.left_out.empty()) {
    progress({.stage = "left_out", .data = {{"left_out", JsonWriter::of(result.left_out)}}});
  }
  if (contexts.empty()) fail("", "no context length is left to measure");
  if (contexts.back() == 0 && options.n_gen == 0) fail("", "nothing to measure: an empty context and -n 0");

  result.model = printable(options.model.model, 4096);
  result.settings = open.settings();
  result.backends = open.backend_names();
  result.threads = omp_get_max_threads();
  result.n_decode = options.n_gen;
  result.n_batch = options.batch_size;
  measure::EnergyMeters meters = open_meters(options, result.backends);
  for (const auto& meter : meters.meters) result.meters.push_back(meter->name());
  result.no_meters = meters.absent;
  if (!model.backend().free_memory()) {
    const measure::TokenCost cost = measure::token_cost(model.reader(), model.config());
    result.bytes_per_token = cost.bytes;
    result.products_per_token = cost.products;
    result.bandwidth = measure::measure_bandwidth();
    result.f32_products_per_second = measure::measure_product_rate(model.backend());
  }
  if (progress) progress({.stage = "machine", .data = to_json(result)});

  const measure::SpeedOptions how{options.n_gen, options.batch_size, options.repetitions};
  schedule::Session session(model, contexts.back() + options.n_gen);
  warm_up(model, session, contexts.back(), how);
  for (const int64_t n : contexts) {
    result.contexts.push_back(describe(measure_speed(model, session, n, how, meters)));
    if (!progress) continue;
    progress({.stage = "contexts",
              .done = std::ssize(result.contexts),
              .total = std::ssize(contexts),
              .unit = "contexts",
              .data = to_json(result.contexts.back())});
  }
  check_mapped_files_unchanged();
  return result;
}

std::string plot(const BenchResult& result) {
  if (result.contexts.empty()) fail("", "no context was measured: nothing to draw");
  std::vector<measure::ContextSpeed> speeds;
  for (const BenchContext& row : result.contexts) speeds.push_back(speed_of(row));
  return speed_plot(speeds, model_name(result.model), fmt::format("{}, {} threads", result.settings, result.threads));
}

}  // namespace steelyard::jobs
