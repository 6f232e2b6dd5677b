// How much calibration data stands behind an entry of an importance matrix. For findings before quantization.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "imatrix/imatrix.h"

namespace steelyard::imatrix {

/// Counts of the experts of one entry; a dense tensor is one expert.
struct Coverage {
  int64_t n_expert = 1;
  int64_t unseen = 0;  ///< saw no input: their importance is their layer's mean
  int64_t thin = 0;    ///< saw fewer inputs than the prior weighs (unseen ones included): mostly their layer's mean
  int64_t zero = 0;    ///< saw inputs, all of them zero: no column matters, if the calibration is to be believed

  /// False when no expert saw any input: Imatrix::importance is empty, as if there were no entry.
  bool is_known() const { return unseen < n_expert; }
};

/// `prior_weight`: Imatrix::prior_weight.
Coverage coverage(const ImatrixEntry& entry, double prior_weight);

/// How the tokens of one block are spread over its routed experts.
struct ExpertCoverage {
  std::string block;  ///< "blk.3"
  int64_t n_expert = 0;
  int64_t unseen = 0;        ///< experts without any input
  int64_t below = 0;         ///< with fewer inputs than asked for, unseen ones included
  int64_t least = 0;         ///< inputs of the expert that has the fewest
  int64_t least_expert = 0;  ///< its number
  int64_t median = 0;        ///< inputs of the expert in the middle
};

/// One for every block with routed experts, in the order of the entries; of a block's tensors the one with the fewest
/// inputs counts.
std::vector<ExpertCoverage> expert_coverage(const std::map<std::string, ImatrixEntry>& entries, int64_t wanted);

}  // namespace steelyard::imatrix
