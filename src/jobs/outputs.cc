#include "jobs/outputs.h"

#include <filesystem>

#include "base/atomic_file.h"
#include "base/error.h"

namespace steelyard::jobs {
namespace {

// A file that does not exist is equivalent to nothing, but two names of it may be the same.
bool is_same(const std::string& path, const std::string& other) {
  std::error_code ignored;
  return std::filesystem::equivalent(path, other, ignored) ||
         std::filesystem::weakly_canonical(path, ignored) == std::filesystem::weakly_canonical(other, ignored);
}

}  // namespace

void check_output(const std::string& path, const std::vector<std::string>& inputs,
                  const std::vector<std::string>& other_outputs) {
  for (const std::string& input : inputs) {
    if (!input.empty() && is_same(path, input)) fail(path, "is also the input {}", input);
  }
  for (const std::string& output : other_outputs) {
    if (!output.empty() && is_same(path, output)) fail(path, "is also the output {}", output);
  }
  const AtomicFile probe(path);
}

}  // namespace steelyard::jobs
