// What rounding uses of the sums over inputs (slice_hessians.h): means per slice of a tensor, and how far they are
// trusted. Both answer the same question, how much a few inputs say about all inputs: the means of an expert are shrunk
// towards those of all experts of its layer, and what is added to a diagonal grows as inputs get fewer. Used by
// rounding_choice.cc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "calibrate/slice_hessians.h"

namespace steelyard::calibrate {

/// Part of its diagonal that is added to a Hessian: the larger the fewer inputs they are of.
struct DampingSchedule {
  double floor;       ///< however many inputs there were: other text is another text
  double per_column;  ///< times columns per input

  double at(int64_t n_columns, double n_inputs) const {
    return n_inputs > 0.0 ? floor + per_column * static_cast<double>(n_columns) / n_inputs : floor;
  }
};

/// Means over the inputs of each slice, shrunk towards the mean over all slices.
class SliceMeans {
 public:
  /// The mean of all slices counts as much as `prior_inputs` more inputs of each slice. `inputs` outlive this. Parallel
  /// inside.
  SliceMeans(const SliceHessians& inputs, double prior_inputs);

  /// Inputs of a slice, those of the prior included.
  double n_inputs(int64_t slice) const { return static_cast<double>(inputs_.count(slice)) + prior_; }

  /// Zeros when there were no inputs; without a cross-covariance when there is none. Thread-safe.
  SliceHessians::Means of_slice(int64_t slice) const;

 private:
  std::vector<float> mean(std::span<const float> sums, const std::vector<float>* pooled, int64_t slice) const;

  const SliceHessians& inputs_;
  double prior_;
  const SliceHessians::Means* pooled_;  // null without a prior
};

}  // namespace steelyard::calibrate
