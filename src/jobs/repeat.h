// What a quantized file is made from: as the options say, or as another file says that is to be made again (--from).
// Called by quantize.
#pragma once

#include <optional>

#include "jobs/quantize.h"
#include "quantize/provenance.h"

namespace steelyard::jobs {

struct Recipe {
  plan::Plan plan;
  ShapingOptions shaping;
  quantize::Provenance provenance;             ///< to be recorded in the result
  std::optional<quantize::Recorded> expected;  ///< of the file to make again
};

/// From the options alone.
Recipe recipe(const QuantizeOptions& options);

/// From the metadata of options.from. What is recorded there is carried over as it is, or the result would be another
/// file; so is the name of the importance file, in `imatrix`. Error for whatever can be known to differ from the
/// recorded run: version, header of the source, importance, whether there is a text. The rest shows when all of the
/// source is read.
Recipe repeat(const QuantizeOptions& options, const gguf::Source& source, std::optional<imatrix::Imatrix>& imatrix);

/// Records the text of a calibration, which may have been written after the recipe was made. Error where it is not that
/// of the file to make again.
void set_calibration(Recipe& recipe, const QuantizeOptions& options, const CalibrationText& text);

}  // namespace steelyard::jobs
