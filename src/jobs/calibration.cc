#include "jobs/calibration.h"

#include <filesystem>

#include "base/error.h"
#include "base/memory.h"
#include "calibrate/layer_stages.h"
#include "jobs/calibration_text.h"
#include "schedule/sweep_plan.h"

namespace steelyard::jobs {
namespace {

// Batches have the same size whatever the memory, because the result must not depend on it. Two models have hidden
// states.
calibrate::CalibrationSettings settings_for(const gguf::Reader& source, const model::ModelConfig& config,
                                            const plan::Resolution& resolution, const QuantizeOptions& options,
                                            const ShapingOptions& shaping, formats::DeviceEncoder* device,
                                            const ProgressCallback& progress) {
  calibrate::CalibrationSettings settings{.rounding = {.ldlq = {.effort = shaping.chosen_effort()}, .device = device}};
  const uint64_t memory = options.memory > 0 ? options.memory : physical_memory() / 5 * 4;
  const schedule::SweepPlan plan = plan_sweep(source, config, memory, calibrate::hessian_bytes(resolution),
                                              shaping.ctx_size, settings.sweep.n_batch, schedule::SweepOrder::kLayer);
  settings.sweep.hidden_state_bytes = plan.hidden_state_bytes / 2;
  if (progress) {
    settings.at_work = [&progress, n_layers = config.layers.size()](int layer) {
      progress({.stage = "calibrate", .item = fmt::format("layer {} of {}", layer + 1, n_layers)});
    };
  }
  settings.sweep.scratch_folder = std::filesystem::path(options.output).parent_path().string();
  return settings;
}

}  // namespace

Calibration::Calibration(const gguf::Reader& source, const plan::Resolution& resolution, const QuantizeOptions& options,
                         const ShapingOptions& shaping, formats::DeviceEncoder* device, const std::string& text,
                         const ProgressCallback& progress)
    : backend_(compute::make_backend(options.backend)),
      model_(source, *backend_),
      tokenizer_(source.metadata()),
      chunks_(
          chunks_of(text, tokenizer_, shaping.ctx_size, shaping.chunks, /*parse_special=*/false, options.calibrate)),
      layers_(source, resolution, model_, chunks_,
              settings_for(source, model_.config(), resolution, options, shaping, device, progress)) {}

std::vector<RoundedTensor> Calibration::rounded() const {
  std::vector<RoundedTensor> rows;
  for (const calibrate::RoundingReport& report : layers_.reports()) {
    rows.push_back({printable(report.name),
                    {report.loss.begin(), report.loss.end()},
                    {report.chosen.begin(), report.chosen.end()}});
  }
  return rows;
}

}  // namespace steelyard::jobs
