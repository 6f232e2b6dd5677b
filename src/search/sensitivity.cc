#include "search/sensitivity.h"

#include <algorithm>
#include <numeric>
#include <tuple>

namespace steelyard::search {

std::vector<size_t> undominated(const std::vector<Candidate>& candidates) {
  std::vector<size_t> order(candidates.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const auto key = [&](size_t i) { return std::tuple(candidates[i].bytes, candidates[i].loss, candidates[i].type, i); };
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return key(a) < key(b); });
  std::vector<size_t> kept;
  for (const size_t i : order) {
    if (kept.empty() || candidates[i].loss < candidates[kept.back()].loss) kept.push_back(i);
  }
  return kept;
}

}  // namespace steelyard::search
