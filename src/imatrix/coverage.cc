// Passes over counts and sums.
#include "imatrix/coverage.h"

#include <algorithm>

namespace steelyard::imatrix {

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

std::vector<ExpertCoverage> expert_coverage(const std::map<std::string, ImatrixEntry>& entries, int64_t wanted) {
  std::vector<ExpertCoverage> result;
  for (const auto& [name, entry] : entries) {
    if (entry.n_expert == 1) continue;
    std::vector<int64_t> counts = entry.counts;
    ExpertCoverage of{.block = name.substr(0, name.find('.', name.find('.') + 1)), .n_expert = entry.n_expert};
    of.unseen = std::ranges::count(counts, 0);
    of.below = std::ranges::count_if(counts, [&](int64_t count) { return count < wanted; });
    of.least_expert = std::ranges::min_element(counts) - counts.begin();
    of.least = counts[static_cast<size_t>(of.least_expert)];
    std::ranges::nth_element(counts, counts.begin() + entry.n_expert / 2);
    of.median = counts[static_cast<size_t>(entry.n_expert / 2)];
    if (result.empty() || result.back().block != of.block)
      result.push_back(std::move(of));
    else if (of.least < result.back().least)
      result.back() = std::move(of);
  }
  return result;
}

}  // namespace steelyard::imatrix
