// One pass over each entry's mean squares.
#include "imatrix/statistics.h"

#include <algorithm>
#include <limits>

namespace steelyard {
namespace {

ImatrixStatistics summary(const std::string& name, const ImatrixEntry& entry) {
  ImatrixStatistics result{.name = name, .n_in = entry.n_in, .n_expert = entry.n_expert};
  double sum = 0;
  double min = std::numeric_limits<double>::infinity();
  for (int64_t expert = 0; expert < entry.n_expert; ++expert) {
    const int64_t count = entry.counts[expert];
    result.inputs += count;
    if (count == 0) {
      ++result.experts_unseen;
      continue;
    }
    for (int64_t i = 0; i < entry.n_in; ++i) {
      const double mean_square = entry.in_sum2[expert * entry.n_in + i] / static_cast<double>(count);
      sum += mean_square;
      min = std::min(min, mean_square);
      result.max = std::max(result.max, mean_square);
    }
  }
  if (const int64_t seen = entry.n_expert - result.experts_unseen; seen > 0) {
    result.min = min;
    result.mean = sum / static_cast<double>(seen * entry.n_in);
  }
  return result;
}

}  // namespace

std::vector<ImatrixStatistics> statistics(const Imatrix& imatrix) {
  std::vector<ImatrixStatistics> result;
  result.reserve(imatrix.entries.size());
  for (const auto& [name, entry] : imatrix.entries) result.push_back(summary(name, entry));
  return result;
}

}  // namespace steelyard
