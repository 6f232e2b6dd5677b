// The model that a calibration text passes through while its layers are quantized. Called by quantize.
#pragma once

#include <memory>

#include "calibrate/calibrated_layers.h"
#include "jobs/quantize.h"
#include "tokenizer/tokenizer.h"

namespace steelyard::jobs {

class Calibration {
 public:
  /// Opens backend and model. `text`: the content of options.calibrate. `source`, `resolution`, `progress` and
  /// `device`, which may be null, outlive it. Progress: stage "calibrate" (quantize.h).
  Calibration(const gguf::Reader& source, const plan::Resolution& resolution, const QuantizeOptions& options,
              const ShapingOptions& shaping, formats::DeviceEncoder* device, const std::string& text,
              const ProgressCallback& progress);

  calibrate::CalibratedLayers& layers() { return layers_; }
  /// Of the tensors rounded so far.
  std::vector<RoundedTensor> rounded() const;

 private:
  std::unique_ptr<compute::Backend> backend_;
  model::Model model_;
  tokenizer::Tokenizer tokenizer_;
  tokenizer::Chunks chunks_;
  calibrate::CalibratedLayers layers_;
};

}  // namespace steelyard::jobs
