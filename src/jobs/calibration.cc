#include "jobs/calibration.h"

#include <filesystem>

#include "base/error.h"
#include "base/memory.h"
#include "model/sweep_plan.h"

namespace steelyard::jobs {
namespace {

// Batches are of the same size whatever the memory: the result must not depend on it. Two models have streams.
CalibrationSettings settings_for(const gguf::Reader& source, const ModelConfig& config, const Resolution& resolution,
                                 const QuantizeOptions& options, const ShapingOptions& shaping, DeviceEncoder* device) {
  CalibrationSettings settings{.feedback = {.effort = shaping.chosen_effort()}, .device = device};
  const uint64_t memory = options.memory > 0 ? options.memory : physical_memory() / 5 * 4;
  const SweepPlan plan = plan_sweep(source, config, memory, moment_bytes(resolution), shaping.ctx_size,
                                    settings.sweep.n_batch, SweepOrder::kLayer);
  settings.sweep.stream_bytes = plan.stream_bytes / 2;
  settings.sweep.scratch_folder = std::filesystem::path(options.output).parent_path().string();
  return settings;
}

}  // namespace

Calibration::Calibration(const gguf::Reader& source, const Resolution& resolution, const QuantizeOptions& options,
                         const ShapingOptions& shaping, DeviceEncoder* device)
    : backend_(make_backend(options.backend)),
      model_(source, *backend_),
      tokenizer_(source.metadata()),
      chunks_(tokenize_file(tokenizer_, options.calibrate, /*parse_special=*/false), shaping.ctx_size, shaping.chunks,
              chunk_bos(tokenizer_), options.calibrate),
      layers_(source, resolution, model_, chunks_,
              settings_for(source, model_.config(), resolution, options, shaping, device)) {}

std::vector<RoundedTensor> Calibration::rounded() const {
  std::vector<RoundedTensor> rows;
  for (const RoundingReport& report : layers_.reports()) {
    rows.push_back({printable(report.name),
                    {report.loss.begin(), report.loss.end()},
                    {report.chosen.begin(), report.chosen.end()}});
  }
  return rows;
}

}  // namespace steelyard::jobs
