// What an importance matrix says at a glance, entry by entry. For inspect.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "imatrix/imatrix.h"

namespace steelyard {

/// One entry. min, mean and max are over the mean squares of all columns of the experts that saw an input, 0 when none
/// did.
struct ImatrixStatistics {
  std::string name;
  int64_t n_in = 0;
  int64_t n_expert = 1;
  int64_t inputs = 0;          ///< tokens, or (token, slot) pairs over all experts
  int64_t experts_unseen = 0;  ///< experts without any input
  double min = 0;
  double mean = 0;
  double max = 0;
};

/// In the order of the entries.
std::vector<ImatrixStatistics> statistics(const Imatrix& imatrix);

}  // namespace steelyard
