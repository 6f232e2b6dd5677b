// One pass over counts and sums.
#include "imatrix/coverage.h"

#include <algorithm>

namespace steelyard {

Coverage coverage(const ImatrixEntry& entry, double prior_weight) {
  Coverage result{.n_expert = entry.n_expert};
  for (int64_t expert = 0; expert < entry.n_expert; ++expert) {
    const int64_t count = entry.counts[static_cast<size_t>(expert)];
    const double* sums = entry.in_sum2.data() + expert * entry.n_in;
    const bool is_zero = std::all_of(sums, sums + entry.n_in, [](double sum) { return sum == 0; });
    result.unseen += count == 0;
    result.thin += entry.n_expert > 1 && (count == 0 || static_cast<double>(count) < prior_weight);
    result.zero += count > 0 && is_zero;
  }
  return result;
}

}  // namespace steelyard
