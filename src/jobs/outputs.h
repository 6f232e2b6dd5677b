// Files that a job writes at its end: what is wrong with them shows before the work.
#pragma once

#include <string>
#include <vector>

namespace steelyard::jobs {

/// Error unless `path` can be written and is none of `inputs`, under whatever name.
void check_output(const std::string& path, const std::vector<std::string>& inputs);

}  // namespace steelyard::jobs
