#include "evaluate/token_score.h"

#include <algorithm>
#include <cmath>

namespace steelyard::evaluate {

LogNormalizer log_normalizer(std::span<const float> row) {
  const auto max = std::max_element(row.begin(), row.end());
  double sum = 0;
  for (const float x : row) sum += std::exp(x - *max);
  return {static_cast<double>(*max) + std::log(sum), max - row.begin()};
}

}  // namespace steelyard::evaluate
