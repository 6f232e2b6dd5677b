// How much calibration data stands behind an entry of an importance matrix. For findings before quantization.
#pragma once

#include <cstdint>

#include "imatrix/imatrix.h"

namespace steelyard {

/// Counts of the experts of one entry; a dense tensor is one expert.
struct Coverage {
  int64_t n_expert = 1;
  int64_t unseen = 0;  ///< saw no input: their importance is their layer's mean
  int64_t thin = 0;    ///< saw fewer inputs than the prior weighs (unseen ones included): mostly their layer's mean
  int64_t zero = 0;    ///< saw inputs, all of them zero: no column matters, if the calibration is to be believed

  /// False when no expert saw any input: Imatrix::importance is empty, as if there were no entry.
  bool is_known() const { return unseen < n_expert; }
};

/// `prior_weight`: Imatrix::prior_weight.
Coverage coverage(const ImatrixEntry& entry, double prior_weight);

}  // namespace steelyard
