// Any bytes as a file of tasks: the first byte says of which kind, the second how many tasks are asked for.
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "evaluate/choice.h"
#include "fuzz/target.h"
#include "gguf/reader.h"

namespace steelyard::evaluate {
namespace {

const tokenizer::Tokenizer& vocabulary() {
  static const tokenizer::Tokenizer tokenizer(
      gguf::Reader(std::string(STEELYARD_SOURCE_DIR) + "/tests/golden/models/llama/model.gguf", gguf::ReadMode::kHeader)
          .metadata());
  return tokenizer;
}

std::vector<ChoiceTask> load(int kind, const std::string& path, int64_t max_tasks) {
  if (kind == 0) return load_hellaswag(path, vocabulary(), max_tasks);
  if (kind == 1) return load_winogrande(path, vocabulary(), max_tasks);
  return load_multiple_choice(path, vocabulary(), max_tasks);
}

void use_tasks(const std::vector<ChoiceTask>& tasks) {
  for (const ChoiceTask& task : tasks) {
    STEELYARD_CHECK(!task.empty());
    for (const Candidate& candidate : task) {
      STEELYARD_CHECK(1 <= candidate.first && candidate.first < candidate.end &&
                      candidate.end <= std::ssize(candidate.ids));
    }
  }
}

}  // namespace
}  // namespace steelyard::evaluate

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace steelyard;
  if (size < 2) return 0;
  static fuzz::MemoryFile file;
  file.set(data + 2, size - 2);
  fuzz::allow_errors([&] { evaluate::use_tasks(evaluate::load(data[0] % 3, file.path(), data[1] % 8)); });
  return 0;
}
