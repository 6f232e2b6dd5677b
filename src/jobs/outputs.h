// What is wrong with an output shows before the work, not after it. For jobs and commands that write at their end.
#pragma once

#include <string>
#include <vector>

namespace steelyard::jobs {

/// Error unless `path` can be written and is none of `inputs` and `other_outputs`, under whatever name. Empty names are
/// none.
void check_output(const std::string& path, const std::vector<std::string>& inputs,
                  const std::vector<std::string>& other_outputs = {});

}  // namespace steelyard::jobs
