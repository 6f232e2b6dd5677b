// Summary of an importance matrix, entry by entry. For inspect.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "imatrix/imatrix.h"

namespace steelyard::imatrix {

/// One entry. min, mean and max are over the mean squares of all columns of the experts that saw an input; 0 when none
/// did.
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
  // What llama-imatrix --show-statistics prints of the same n mean squares a (llama.cpp, tools/imatrix); entropy and
  // deviation tell whether few columns matter much.
  int64_t n = 0;          ///< mean squares: columns of the experts that saw an input
  double sum = 0;         ///< of a
  double deviation = 0;   ///< standard deviation of a
  double active = 0;      ///< share of a > 1e-5
  double entropy = 0;     ///< bits: -sum p log2 p, p = a / sum; at most log2 n, when all columns matter alike
  double outlying = 0;    ///< share of a more than one deviation above the mean
  double similarity = 0;  ///< cosine of the sums with those of the same tensor one block before; 0 without such a one

  /// Entropy relative to the most that n values can have.
  double relative_entropy() const;
};

/// Means over the entries of one block, weighted by n: as llama-imatrix prints them.
struct BlockStatistics {
  int64_t block = 0;
  double sum = 0;
  double outlying = 0;
  double similarity = 0;
};

/// In the order of the entries.
std::vector<ImatrixStatistics> statistics(const Imatrix& imatrix);
/// In the order of the blocks; entries outside blocks are left out.
std::vector<BlockStatistics> block_statistics(const std::vector<ImatrixStatistics>& rows);

}  // namespace steelyard::imatrix
