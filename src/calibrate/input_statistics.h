// What rounding uses of the Hessian sums (hessian_collector.h): means per slice of a tensor, and how far they are
// trusted. Both answer the same question, how much a few inputs say about all inputs: the means of an expert are shrunk
// towards those of all experts of its layer, and what is added to a diagonal grows as inputs get fewer. Used by
// rounding_choice.cc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

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
  /// sums: [counts.size(), values of a slice], or empty; counts: inputs of each slice. Both must outlive this. The mean
  /// of all slices counts as much as `prior_inputs` more inputs of each slice.
  SliceMeans(const std::vector<float>& sums, const std::vector<int64_t>& counts, double prior_inputs);

  /// Inputs of a slice, those of the prior included.
  double n_inputs(int64_t slice) const { return static_cast<double>(counts_[static_cast<size_t>(slice)]) + prior_; }

  /// Zeros when there were no inputs; empty when the sums are.
  std::vector<float> of_slice(int64_t slice) const;

 private:
  const std::vector<float>& sums_;
  const std::vector<int64_t>& counts_;
  double prior_;
  size_t size_;                // values of a slice
  std::vector<float> pooled_;  // the mean of all slices; empty without a prior
};

}  // namespace steelyard::calibrate
