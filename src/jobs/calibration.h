// The model that a calibration text passes through while its layers are quantized. Called by quantize.
#pragma once

#include <memory>

#include "calibrate/calibrated_layers.h"
#include "jobs/calibration_text.h"
#include "jobs/quantize.h"
#include "jobs/quantize_devices.h"

namespace steelyard::jobs {

/// Its text, as the options say it.
CalibrationTextSettings calibration_text_settings(const QuantizeOptions& options, const ShapingOptions& shaping);

class Calibration {
 public:
  /// Opens devices and model, and reads the text's file, if there is one. Error where memory does not suffice.
  /// `source`, `resolution`, `progress` and `devices` outlive it. Progress: stages "write" and "calibrate"
  /// (quantize.h).
  Calibration(const gguf::Source& source, const plan::Resolution& resolution, const QuantizeOptions& options,
              const ShapingOptions& shaping, QuantizeDevices& devices, const ProgressCallback& progress);

  /// Before start() they only say what they will encode.
  calibrate::CalibratedLayers& layers() { return layers_; }
  /// Writes the text, if the model is to write it.
  void read();
  /// Sends it on its way.
  void start() { layers_.start(text_.chunks(), settings()); }
  CalibrationText& text() { return text_; }
  const CalibrationText& text() const { return text_; }
  /// CalibratedLayers::half_over_all().
  double half_over_all() const { return layers_.half_over_all(); }
  /// Seconds spent so far; `write` is 0.
  QuantizeTimes times() const;
  /// The same by layer and stage.
  std::vector<QuantizeStage> stages() const;
  /// Who has rounded matrices so far.
  std::vector<QuantizeWorker> workers() const;
  /// Of the tensors rounded so far.
  std::vector<RoundedTensor> rounded() const;

 private:
  calibrate::CalibrationMemory memory(const model::ModelConfig& config, int64_t n_chunks, int64_t n_ctx) const;
  compute::Backend& open_devices();
  calibrate::CalibrationSettings settings() const;

  const gguf::Source& source_;
  const plan::Resolution& resolution_;
  const QuantizeOptions& options_;
  const ShapingOptions& shaping_;
  QuantizeDevices& devices_;
  const ProgressCallback& progress_;
  model::Model model_;
  tokenizer::Tokenizer tokenizer_;
  CalibrationText text_;
  calibrate::CalibratedLayers layers_;
};

}  // namespace steelyard::jobs
