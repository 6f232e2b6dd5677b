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

using Load = std::vector<ChoiceTask> (*)(const std::string&, const tokenizer::Tokenizer&, int64_t);

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
  constexpr evaluate::Load kLoads[] = {evaluate::load_hellaswag, evaluate::load_winogrande,
                                       evaluate::load_multiple_choice};
  static fuzz::MemoryFile file;
  file.set(data + 2, size - 2);
  fuzz::allow_errors([&] {
    evaluate::use_tasks(kLoads[data[0] % std::size(kLoads)](file.path(), evaluate::vocabulary(), data[1] % 8));
  });
  return 0;
}
