// What is wrong with an output shows before the work, not after it. For jobs and commands that write at their end.
#pragma once

#include <string>
#include <vector>

namespace steelyard::jobs {

/// Error unless `path` can be written and is none of `inputs`, under whatever name. Empty inputs are none.
void check_output(const std::string& path, const std::vector<std::string>& inputs);

}  // namespace steelyard::jobs
