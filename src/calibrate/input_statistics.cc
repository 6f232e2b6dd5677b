// The means of slices, in the order of summation that the bytes of a quantization depend on.
#include "calibrate/input_statistics.h"

namespace steelyard::calibrate {

SliceMeans::SliceMeans(const SliceHessians& inputs, double prior_inputs)
    : inputs_(inputs), prior_(prior_inputs), pooled_(prior_inputs == 0.0 ? nullptr : &inputs.pooled()) {}

std::vector<float> SliceMeans::mean(std::span<const float> sums, const std::vector<float>* pooled,
                                    int64_t slice) const {
  std::vector<float> mean(sums.size());
  const double total = n_inputs(slice);
  if (total == 0.0) return mean;
  const auto own = static_cast<float>(1.0 / total), shared = static_cast<float>(prior_ / total);
  for (size_t i = 0; i < mean.size(); ++i) mean[i] = sums[i] * own + (pooled == nullptr ? 0.0f : (*pooled)[i] * shared);
  return mean;
}

SliceHessians::Means SliceMeans::of_slice(int64_t slice) const {
  const SliceSums sums = inputs_.of_slice(slice);
  return {mean(sums.hessian, pooled_ == nullptr ? nullptr : &pooled_->hessian, slice),
          mean(sums.cross_covariance, pooled_ == nullptr ? nullptr : &pooled_->cross_covariance, slice)};
}

}  // namespace steelyard::calibrate
