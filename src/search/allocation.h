// Which candidate each group gets, so that the sum of the losses is smallest and the bytes stay within a budget: the
// multiple-choice knapsack problem. Pure: equal groups and budgets give equal choices, whatever the order of the
// groups.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "search/sensitivity.h"

namespace steelyard::search {

struct Allocation {
  std::vector<size_t> chosen;  ///< one per group, in the order given: a position in its `candidates`
  uint64_t bytes = 0;          ///< of all groups; never more than the budget
  double loss = 0;             ///< the sum, in nats per position
  double lambda = 0;  ///< the loss that one more byte would save, in nats per byte; 0 when nothing is left to gain
};

/// Chooses one candidate per group. Nobody gets a candidate that another one beats in bytes and in loss. Error names
/// the bytes that are needed at least when even the smallest candidates exceed the budget.
Allocation allocate(std::span<const Group> groups, uint64_t budget_bytes);

/// Bytes, loss and lambda of a choice that is given.
Allocation weigh(std::span<const Group> groups, std::vector<size_t> chosen, double lambda);

}  // namespace steelyard::search
