// --fail-above of perplexity: limits of its figures, for scripts that must not go on with a model that has become
// worse. What can be wrong with a limit shows before the work.
#pragma once

#include <string>
#include <vector>

#include "jobs/perplexity.h"

namespace steelyard::tools {

struct Limit {
  std::string name;  ///< of the figure: ppl, kld, kld_p99, kld_max
  double most = 0;
};

/// From "kld=0.02", one figure each. Error for a figure that is unknown or named twice, and for what is no number from
/// 0.
std::vector<Limit> parse_limits(const std::vector<std::string>& texts);

/// Error for limits of a divergence where none will be measured.
void check(const std::vector<Limit>& limits, const jobs::PerplexityOptions& options);

/// "kld is 0.031, above 0.02": all figures that exceed their limits, on one line; empty when none does. A figure that
/// is not a number exceeds every limit.
std::string exceeded(const std::vector<Limit>& limits, const jobs::PerplexityResult& result);

}  // namespace steelyard::tools
