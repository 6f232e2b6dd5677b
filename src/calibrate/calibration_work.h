// How much work a calibration is, and how fast this machine does it: for an estimate of its time before it begins.
#pragma once

#include "calibrate/calibration_memory.h"
#include "formats/device_encoder.h"
#include "formats/format.h"

namespace steelyard::calibrate {

/// Multiplications, in F32 where nothing else is said.
struct CalibrationWork {
  double forward = 0;   ///< of two models, all passes over the text
  double moments = 0;   ///< sums of x x^T and of (y - x) x^T
  double factors = 0;   ///< and solutions, in F64
  double feedback = 0;  ///< products of error feedback, of correction and of what judges results
  double weights = 0;   ///< no multiplications: weights whose codes and scales are searched
};
CalibrationWork calibration_work(const gguf::Source& source, const model::ModelConfig& config,
                                 const plan::Resolution& resolution, const TextSize& text, bool makes_sums_twice);

struct RoundingRates {
  double factors = 0;             ///< multiplications per second
  double seconds_per_weight = 0;  ///< of all searches for it
};
/// Of a small matrix with all threads, rounded in the three ways; product_rate: multiplications per second.
RoundingRates measure_rounding(formats::Type type, formats::Effort effort, double product_rate,
                               formats::DeviceEncoder* device);

}  // namespace steelyard::calibrate
