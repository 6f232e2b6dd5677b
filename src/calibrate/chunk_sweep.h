// What a sweep over the chunks of a calibration text is made from. The chunks outlive the sweep.
#pragma once

#include "schedule/layer_sweep.h"
#include "tokenizer/chunks.h"

namespace steelyard::calibrate {

inline schedule::LayerSweep::ChunkIds ids_of(const tokenizer::Chunks& chunks) {
  return [&chunks](int64_t c) { return chunks.input(c); };
}

inline schedule::SweepOptions options_for(const tokenizer::Chunks& chunks, schedule::SweepOptions options) {
  options.starts = [&chunks](int64_t c) { return chunks.starts(c); };
  return options;
}

}  // namespace steelyard::calibrate
