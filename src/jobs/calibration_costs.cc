#include "jobs/calibration_costs.h"

#include <algorithm>
#include <map>

#include "base/error.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "base/saturating.h"
#include "calibrate/calibrated_layers.h"
#include "calibrate/calibration_work.h"
#include "gguf/block_name.h"
#include "measure/speed.h"

namespace steelyard::jobs {
namespace {

constexpr double kFlop = 2;  // a multiplication and an addition

double gib(uint64_t bytes) { return static_cast<double>(bytes) / (uint64_t{1} << 30); }

calibrate::TextSize text_size(int64_t n_chunks, int64_t n_ctx) {
  return {.n_ctx = n_ctx, .n_chunks = n_chunks, .n_batch = schedule::SweepOptions().n_batch};
}

// The type that most weights of layers get.
std::optional<formats::Type> main_type(const plan::Resolution& resolution) {
  std::map<formats::Type, int64_t> n_weights;
  for (const plan::Decision& decision : resolution.decisions) {
    if (gguf::block_of(decision.tensor->name) && calibrate::is_rounded(decision))
      n_weights[decision.type] += decision.tensor->n_elements();
  }
  if (n_weights.empty()) return std::nullopt;
  return std::ranges::max_element(n_weights, {}, [](const auto& entry) { return entry.second; })->first;
}

}  // namespace

calibrate::CalibrationMemory calibration_memory(const gguf::Source& source, const model::ModelConfig& config,
                                                const plan::Resolution& resolution, int64_t n_chunks, int64_t n_ctx,
                                                uint64_t allowed, int n_devices) {
  const uint64_t memory = usable_memory(allowed);
  const calibrate::CalibrationMemory plan =
      plan_calibration(source, config, resolution, text_size(n_chunks, n_ctx), memory, set_thread_count(0), n_devices);
  if (plan.least > memory) {
    fail(source.path(), "calibration needs {:.2f} GiB of memory, and {} {:.2f} GiB", gib(plan.least),
         allowed > 0 ? "--memory allows" : "without --memory may use four fifths of what there is,", gib(memory));
  }
  return plan;
}

int64_t expected_chunks(const TextSource& text, const ShapingOptions& shaping, const model::ModelConfig& config) {
  const int64_t n_ctx = std::max<int64_t>(shaping.ctx_size, 1);
  if (text.own_tokens > 0 && text.file.empty()) return text.own_tokens / n_ctx + (text.own_tokens % n_ctx != 0);
  return shaping.chunks > 0 ? shaping.chunks : enough_chunks(config, n_ctx);
}

CalibrationCosts calibration_costs(const gguf::Source& source, const model::ModelConfig& config,
                                   const plan::Resolution& resolution, const ShapingOptions& shaping,
                                   const TextSource& text, uint64_t allowed, const QuantizeDevices& devices) {
  const int64_t n_chunks = expected_chunks(text, shaping, config);
  const calibrate::CalibrationMemory memory =
      calibration_memory(source, config, resolution, n_chunks, shaping.ctx_size, allowed, devices.count());
  CalibrationCosts costs;
  costs.n_tokens = n_chunks * shaping.ctx_size;
  costs.allowed = usable_memory(allowed);
  costs.peak = memory.peak;
  costs.program = memory.program;
  costs.weights = memory.weights;
  costs.encoded = memory.encoded;
  costs.activations = memory.activations;
  costs.hidden_states = memory.in_memory;
  costs.statistics = memory.statistics;
  costs.slices_at_once = memory.slices_at_once;
  costs.stores_rows = memory.stores_rows;
  costs.least = memory.least;
  costs.scratch = memory.scratch;
  for (const plan::Decision& decision : resolution.decisions)
    costs.output = saturating_add(costs.output, decision.bytes);

  const std::unique_ptr<compute::Backend> computes = compute::make_backend(devices.first());
  if (devices.count() > 0) costs.on_device = memory.on_device;
  const calibrate::CalibrationWork work =
      calibration_work(source, config, resolution, text_size(n_chunks, shaping.ctx_size), memory.stores_rows);
  costs.forward_flop = kFlop * work.forward;
  costs.moments_flop = kFlop * work.moments;
  costs.factors_flop = kFlop * work.factors;
  costs.feedback_flop = kFlop * work.feedback;
  costs.searched_weights = work.weights;
  const auto type = main_type(resolution);
  if (!type) return costs;
  const double rate = measure::measure_product_rate(*computes);
  const calibrate::RoundingRates rates =
      calibrate::measure_rounding(*type, shaping.chosen_effort(), rate, devices.encoder());
  const double all = rate * std::max(1, devices.count());
  costs.forward_seconds = work.forward / all;
  costs.moments_seconds = work.moments / all;
  costs.factors_seconds = work.factors / rates.factors;
  costs.search_seconds = work.feedback / rate + work.weights * rates.seconds_per_weight;
  return costs;
}

}  // namespace steelyard::jobs
