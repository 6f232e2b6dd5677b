// Everything that can be known to be wrong before the first byte is written: rules that decide nothing, fallbacks,
// types that cannot be encoded, importance that is missing, thin or of another model, quantized sources, a target that
// is also the source.
#pragma once

#include <string>
#include <vector>

#include "gguf/source.h"
#include "imatrix/imatrix.h"
#include "plan/findings.h"
#include "quantize/layer_encoder.h"

namespace steelyard::quantize {

struct QuantizeJob {
  const gguf::Source& source;
  const plan::Resolution& resolution;
  const imatrix::Imatrix* imatrix = nullptr;  ///< null: none given
  bool allow_requantize = false;              ///< quantize again what is quantized already
  bool strict = false;                        ///< warnings are errors
  LayerEncoder* layers = nullptr;             ///< encodes the tensors that it covers; null: there is no calibration
};

/// All findings about the job, including those about the plan, errors first.
std::vector<plan::Finding> findings(const QuantizeJob& job);

/// Throws one Error that lists all errors among the findings, and all warnings if the job is strict.
void check(const QuantizeJob& job);

/// Error when `target` is one of the files that `source` reads: it would be lost while it is read.
void check_target(const gguf::Source& source, const std::string& target);

}  // namespace steelyard::quantize
