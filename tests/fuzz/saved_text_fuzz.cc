// Any bytes as a text that a model has written and saved: reading them either throws Error or gives chunks of ids of
// the vocabulary.
//
// tests/jobs/fuzz_test.cc runs it on mutations of a valid file, too.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "fuzz/target.h"
#include "gguf/reader.h"
#include "jobs/saved_text.h"

namespace steelyard::jobs {
namespace {

// Of which the seeds are.
const tokenizer::Tokenizer& fuzzed_vocabulary() {
  static const tokenizer::Tokenizer tokenizer(
      gguf::Reader(std::string(STEELYARD_SOURCE_DIR) + "/tests/golden/models/llama/model.gguf", gguf::ReadMode::kHeader)
          .metadata());
  return tokenizer;
}

void use_chunks(const tokenizer::Chunks& chunks) {
  for (int64_t c = 0; c < chunks.count(); ++c) {
    STEELYARD_CHECK(static_cast<int64_t>(chunks.input(c).size()) == chunks.n_ctx());
    for (const tokenizer::TokenId id : chunks.input(c)) {
      STEELYARD_CHECK(id >= 0 && id < fuzzed_vocabulary().n_tokens());
    }
    int64_t last = -1;
    for (const int64_t start : chunks.starts(c)) {
      STEELYARD_CHECK(start > last && start < chunks.n_ctx());
      last = start;
    }
  }
}

// True if the bytes are such a text.
bool read_saved_text(std::string_view content) {
  try {
    const SavedText text = parse_saved_text(content, fuzzed_vocabulary(), "fuzz");
    // The content again, if it was printed by this version.
    STEELYARD_CHECK(!print(text, std::ssize(text.chunks), fuzzed_vocabulary()).empty());
    use_chunks(text.as_chunks(0, 0, "fuzz"));
    return true;
  } catch (const Error& error) {
    STEELYARD_CHECK(std::string_view(error.what()).find('\n') == std::string_view::npos);
    return false;
  }
}

}  // namespace
}  // namespace steelyard::jobs

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  steelyard::jobs::read_saved_text({reinterpret_cast<const char*>(data), size});
  return 0;
}
