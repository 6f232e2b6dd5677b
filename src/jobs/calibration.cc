#include "jobs/calibration.h"

#include <filesystem>

#include "base/error.h"
#include "base/memory.h"
#include "base/output_target.h"
#include "base/saturating.h"
#include "base/temporary_file.h"
#include "jobs/calibration_costs.h"
#include "model/architecture.h"

namespace steelyard::jobs {
namespace {

constexpr const char* kProgressSuffix = ".text";  // of what is written so far

}  // namespace

CalibrationTextSettings calibration_text_settings(const QuantizeOptions& options, const ShapingOptions& shaping) {
  const TextSource source = TextSource::parse(options.calibrate);
  return {.source = source,
          .n_ctx = shaping.ctx_size,
          .n_chunks = shaping.chunks,
          .own_share = shaping.own_share,
          // A file may be made again from the text that was kept, which needs no writing.
          .writing = options.from.empty() || source.own ? shaping.writing : WritingOptions(),
          .files = options.files,
          .conversations = options.conversations,
          .conversations_share = shaping.conversations_share,
          .model = {.model = options.model,
                    .backend = {QuantizeDevices::first_of(options.backend)},
                    .threads = options.threads},
          .progress = {.resume = options.dry_run ? "" : name_beside(options.output, kProgressSuffix)},
          .replace = !options.resume,
          .memory = options.memory};
}

Calibration::Calibration(const gguf::Source& source, const plan::Resolution& resolution, const QuantizeOptions& options,
                         const ShapingOptions& shaping, QuantizeDevices& devices, const ProgressCallback& progress)
    : source_(source),
      resolution_(resolution),
      options_(options),
      shaping_(shaping),
      devices_(devices),
      progress_(progress),
      model_(source, open_devices()),
      tokenizer_(source.metadata()),
      text_(calibration_text_settings(options, shaping)),
      layers_(source, resolution, model_) {}

calibrate::CalibrationMemory Calibration::memory(const model::ModelConfig& config, int64_t n_chunks,
                                                 int64_t n_ctx) const {
  return calibration_memory(source_, config, resolution_, n_chunks, n_ctx, options_.memory, devices_.count());
}

// Before anything is loaded, it is known that there is memory.
compute::Backend& Calibration::open_devices() {
  const model::ModelConfig config = model::read_config(source_);
  const int64_t n_chunks = expected_chunks(TextSource::parse(options_.calibrate), shaping_, config);
  devices_.make_backends(memory(config, n_chunks, shaping_.ctx_size).on_device);
  return devices_.backend();
}

// Batches have the same size whatever the memory, because the result must not depend on it.
calibrate::CalibrationSettings Calibration::settings() const {
  calibrate::CalibrationSettings settings{
      .rounding = {.ldlq = {.effort = shaping_.chosen_effort()}, .device = devices_.encoder()},
      .devices = devices_.of_calibration()};
  const calibrate::CalibrationMemory memory =
      this->memory(model_.config(), text_.chunks().count(), text_.chunks().n_ctx());
  settings.sweep.hidden_state_bytes = memory.in_memory / 2;  // of each model
  settings.stage_memory = memory.of_stage;
  // Without room for it, a layer that was read ahead would be gone before its turn, and be read again. As much once
  // more is for what is on its way to the disk.
  settings.reads_ahead =
      saturating_add(memory.peak, saturating_mul(2, memory.weights)) <= usable_memory(options_.memory);
  if (progress_) {
    settings.at_work = [this](int layer) {
      progress_({.stage = "calibrate", .item = fmt::format("layer {} of {}", layer + 1, model_.n_layers())});
    };
  }
  settings.ranks = options_.ranks;
  settings.trials = options_.trials;
  settings.sweep.scratch_folder = std::filesystem::path(options_.output).parent_path().string();
  return settings;
}

void Calibration::read() {
  if (options_.restart && cluster::leads(options_.ranks)) remove_file(name_beside(options_.output, kProgressSuffix));
  text_.read(tokenizer_, model_.config(), progress_);
}

QuantizeTimes Calibration::times() const {
  const calibrate::StageTimes& times = layers_.times();
  return {.forward = times.of(calibrate::Work::kForward),
          .moments = times.of(calibrate::Work::kMoments),
          .factors = times.of(calibrate::Work::kFactors),
          .search = times.of(calibrate::Work::kSearch)};
}

std::vector<QuantizeStage> Calibration::stages() const {
  std::vector<QuantizeStage> stages;
  for (const auto& [layer, stage, times] : layers_.stages()) {
    stages.push_back({layer, std::string(stage), times.of(calibrate::Work::kForward),
                      times.of(calibrate::Work::kMoments), times.of(calibrate::Work::kFactors),
                      times.of(calibrate::Work::kSearch)});
  }
  return stages;
}

std::vector<QuantizeWorker> Calibration::workers() const {
  std::vector<QuantizeWorker> workers;
  for (const auto& [name, work] : layers_.workers()) {
    const bool on_device = name.starts_with("device ");
    workers.push_back({on_device ? devices_.names().at(std::stoul(name.substr(7))) : name, work.n_tasks, work.seconds});
  }
  return workers;
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
