#include "jobs/calibration.h"

#include <filesystem>

#include "base/error.h"
#include "base/memory.h"
#include "base/output_target.h"
#include "base/temporary_file.h"
#include "calibrate/layer_stages.h"
#include "schedule/sweep_plan.h"

namespace steelyard::jobs {
namespace {

constexpr const char* kProgressSuffix = ".text";  // of what is written so far

CalibrationTextSettings text_settings(const QuantizeOptions& options, const ShapingOptions& shaping) {
  const TextSource source = TextSource::parse(options.calibrate);
  return {.source = source,
          .n_ctx = shaping.ctx_size,
          .n_chunks = shaping.chunks,
          .own_share = shaping.own_share,
          // A file may be made again from the text that was kept, which needs no writing.
          .writing = options.from.empty() || source.own ? shaping.writing : WritingOptions(),
          .files = options.files,
          .model = {.model = options.model, .backend = {options.backend}, .threads = options.threads},
          .progress = {.resume = options.dry_run ? "" : name_beside(options.output, kProgressSuffix)},
          .replace = !options.resume,
          .memory = options.memory};
}

}  // namespace

Calibration::Calibration(const gguf::Reader& source, const plan::Resolution& resolution, const QuantizeOptions& options,
                         const ShapingOptions& shaping, formats::DeviceEncoder* device,
                         const ProgressCallback& progress)
    : source_(source),
      resolution_(resolution),
      options_(options),
      shaping_(shaping),
      device_(device),
      progress_(progress),
      backend_(compute::make_backend(options.backend)),
      model_(source, *backend_),
      tokenizer_(source.metadata()),
      text_(text_settings(options, shaping)),
      layers_(source, resolution, model_) {}

// Batches have the same size whatever the memory, because the result must not depend on it. Two models have hidden
// states.
calibrate::CalibrationSettings Calibration::settings() const {
  calibrate::CalibrationSettings settings{
      .rounding = {.ldlq = {.effort = shaping_.chosen_effort()}, .device = device_}};
  const uint64_t memory = usable_memory(options_.memory);
  const schedule::SweepPlan plan =
      plan_sweep(source_, model_.config(), memory, calibrate::hessian_bytes(resolution_), text_.chunks().n_ctx(),
                 settings.sweep.n_batch, schedule::SweepOrder::kLayer);
  settings.sweep.hidden_state_bytes = plan.hidden_state_bytes / 2;
  if (progress_) {
    settings.at_work = [this](int layer) {
      progress_({.stage = "calibrate", .item = fmt::format("layer {} of {}", layer + 1, model_.n_layers())});
    };
  }
  settings.trials = options_.trials;
  settings.sweep.scratch_folder = std::filesystem::path(options_.output).parent_path().string();
  return settings;
}

void Calibration::read() {
  if (options_.restart) remove_file(name_beside(options_.output, kProgressSuffix));
  text_.read(tokenizer_, model_.config(), progress_);
}

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
