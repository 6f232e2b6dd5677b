// Any bytes as a GGUF file: reading them either throws Error or gives a Reader of which every view can be used.
//
// A libFuzzer target: clang++ -std=c++20 -fsanitize=fuzzer,address,undefined -I src tests/fuzz/gguf_fuzz.cc and the
// sources of src/base, src/formats and src/gguf. tests/gguf/fuzz_test.cc runs it on mutations of valid files.
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/check.h"
#include "base/error.h"
#include "gguf/reader.h"

namespace steelyard::gguf {
namespace {

// Bytes as a file that has a path but no place on disk.
class MemoryFile {
 public:
  MemoryFile(const uint8_t* data, size_t size) : fd_(::memfd_create("fuzz", MFD_CLOEXEC)) {
    STEELYARD_CHECK(fd_ >= 0 && ::write(fd_, data, size) == static_cast<ssize_t>(size));
  }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  ~MemoryFile() { ::close(fd_); }
  std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }

 private:
  int fd_;
};

// Everything that depends on the content of views goes here, so that no read is optimised away.
volatile uint64_t g_sink;

template <typename Action>
void allow_errors(const Action& action) {
  try {
    action();
  } catch (const Error& error) {
    STEELYARD_CHECK(std::string_view(error.what()).find('\n') == std::string_view::npos);
  }
}

void use_metadata(const Metadata& metadata) {
  for (const KeyValue& entry : metadata.entries()) {
    const std::string_view key = entry.key;
    STEELYARD_CHECK(metadata.find(key) == &entry);
    allow_errors([&] { g_sink = static_cast<uint64_t>(metadata.integer(key)); });
    allow_errors([&] { g_sink = metadata.real(key) > 0; });
    allow_errors([&] { g_sink = metadata.boolean(key, false); });
    allow_errors([&] { g_sink = metadata.array_size(key) + metadata.integers(key).size(); });
    allow_errors([&] { g_sink = metadata.reals(key).size(); });
    uint64_t sum = 0;
    allow_errors([&] {
      for (const char c : metadata.string(key)) sum += static_cast<unsigned char>(c);
    });
    allow_errors([&] {
      for (const std::string_view text : metadata.strings(key)) {
        for (const char c : text) sum += static_cast<unsigned char>(c);
      }
    });
    g_sink = sum;
  }
}

void use_reader(const Reader& reader, bool with_data) {
  uint64_t total = 0;
  for (const TensorInfo& tensor : reader.tensors()) {
    STEELYARD_CHECK(reader.find(tensor.name) == &tensor);
    STEELYARD_CHECK(tensor.n_elements() >= 0 && !shape_string(tensor).empty());
    total += tensor.n_bytes;
    if (!with_data) continue;
    uint64_t sum = 0;
    for (const std::byte b : reader.bytes(tensor)) sum += static_cast<uint64_t>(b);
    g_sink = sum;
  }
  STEELYARD_CHECK(total == reader.total_bytes());
}

}  // namespace
}  // namespace steelyard::gguf

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace steelyard::gguf;
  const MemoryFile file(data, size);
  for (const ReadMode mode : {ReadMode::kHeader, ReadMode::kData}) {
    allow_errors([&] {
      const Reader reader(file.path(), mode);
      use_metadata(reader.metadata());
      use_reader(reader, mode == ReadMode::kData);
    });
  }
  return 0;
}
