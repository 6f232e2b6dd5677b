// The model that a calibration text passes through while its layers are quantized. Called by quantize.
#pragma once

#include <memory>

#include "calibrate/calibrated_layers.h"
#include "jobs/quantize.h"
#include "tokenizer/tokenizer.h"

namespace steelyard::jobs {

class Calibration {
 public:
  /// Opens backend and model, reads the text of options.calibrate. `source`, `resolution` and `device`, which may be
  /// null, outlive it.
  Calibration(const gguf::Reader& source, const Resolution& resolution, const QuantizeOptions& options,
              const ShapingOptions& shaping, DeviceEncoder* device);

  CalibratedLayers& layers() { return layers_; }
  /// Of the tensors rounded so far.
  std::vector<RoundedTensor> rounded() const;

 private:
  std::unique_ptr<Backend> backend_;
  Model model_;
  Tokenizer tokenizer_;
  Chunks chunks_;
  CalibratedLayers layers_;
};

}  // namespace steelyard::jobs
