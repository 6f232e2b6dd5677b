// The means of slices, in the order of summation that the bytes of a quantization depend on.
#include "calibrate/input_statistics.h"

namespace steelyard::calibrate {

SliceMeans::SliceMeans(const std::vector<float>& sums, const std::vector<int64_t>& counts, double prior_inputs)
    : sums_(sums), counts_(counts), prior_(prior_inputs), size_(sums.size() / counts.size()) {
  if (prior_ == 0.0 || sums.empty()) return;
  pooled_.resize(size_);
  double total = 0.0;
  for (size_t s = 0; s < counts.size(); ++s) {
    total += static_cast<double>(counts[s]);
    for (size_t i = 0; i < size_; ++i) pooled_[i] += sums[s * size_ + i];
  }
  for (float& value : pooled_) value = total > 0.0 ? value / static_cast<float>(total) : 0.0f;
}

std::vector<float> SliceMeans::of_slice(int64_t slice) const {
  std::vector<float> mean(size_);
  const auto s = static_cast<size_t>(slice);
  const double total = n_inputs(slice);
  if (total == 0.0) return mean;
  const auto own = static_cast<float>(1.0 / total), pooled = static_cast<float>(prior_ / total);
  for (size_t i = 0; i < size_; ++i) {
    mean[i] = sums_[s * size_ + i] * own + (pooled_.empty() ? 0.0f : pooled_[i] * pooled);
  }
  return mean;
}

}  // namespace steelyard::calibrate
