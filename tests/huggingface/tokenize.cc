// For test_tokenizers.py: tokenize MODEL TEXT METADATA IDS writes the tokenizer's metadata of a folder or a GGUF as a
// GGUF without tensors, and the ids of a text, without special tokens, as int32.
#include <fmt/format.h>

#include <filesystem>
#include <fstream>

#include "base/atomic_file.h"
#include "base/error.h"
#include "gguf/reader.h"
#include "gguf/writer.h"
#include "huggingface/tokenizer_metadata.h"
#include "tokenizer/tokenizer.h"

int main(int argc, char** argv) {
  using namespace steelyard;
  if (argc != 5) return 2;
  try {
    const std::string model = argv[1];
    const gguf::Metadata metadata = std::filesystem::is_directory(model)
                                        ? huggingface::tokenizer_metadata(model)
                                        : gguf::Reader(model, gguf::ReadMode::kHeader).metadata();
    gguf::Writer(argv[3], metadata, {}).finish();
    const auto ids = tokenizer::Tokenizer(metadata).encode(read_file(argv[2]), false, false);
    std::ofstream(argv[4], std::ios::binary)
        .write(reinterpret_cast<const char*>(ids.data()), static_cast<std::streamsize>(ids.size() * sizeof(ids[0])));
  } catch (const Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
