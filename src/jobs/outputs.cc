#include "jobs/outputs.h"

#include <filesystem>

#include "base/atomic_file.h"
#include "base/error.h"

namespace steelyard::jobs {

void check_output(const std::string& path, const std::vector<std::string>& inputs) {
  for (const std::string& input : inputs) {
    std::error_code ignored;  // a file that does not exist is equivalent to nothing
    if (std::filesystem::equivalent(path, input, ignored)) fail(path, "is also the input {}", input);
  }
  const AtomicFile probe(path);
}

}  // namespace steelyard::jobs
