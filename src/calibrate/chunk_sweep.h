// A sweep over the chunks of a calibration text.
#pragma once

#include "schedule/layer_sweep.h"
#include "tokenizer/chunks.h"

namespace steelyard::calibrate {

/// model and chunks outlive the sweep.
inline schedule::LayerSweep sweep_of(const tokenizer::Chunks& chunks, const model::Model& model,
                                     schedule::SweepOptions options) {
  options.starts = [&chunks](int64_t c) { return chunks.starts(c); };
  return {model, chunks.n_ctx(), [&chunks](int64_t c) { return chunks.input(c); }, options};
}

}  // namespace steelyard::calibrate
