#include "jobs/outputs.h"

#include <filesystem>

#include "base/atomic_file.h"
#include "base/error.h"

namespace steelyard::jobs {

void check_output(const std::string& path, const std::vector<std::string>& inputs) {
  for (const std::string& input : inputs) {
    if (input.empty()) continue;
    // A file that does not exist is equivalent to nothing, but two names of it may be the same.
    std::error_code ignored;
    const bool same =
        std::filesystem::equivalent(path, input, ignored) ||
        std::filesystem::weakly_canonical(path, ignored) == std::filesystem::weakly_canonical(input, ignored);
    if (same) fail(path, "is also the input {}", input);
  }
  const AtomicFile probe(path);
}

}  // namespace steelyard::jobs
