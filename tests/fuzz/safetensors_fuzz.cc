// Any bytes as the header of a safetensors file, whose data are made up: it is refused with an Error, or every tensor
// of it can be read. A header is framed with its own length, which random bytes would hardly hit, and its data get the
// length that it asks for; both lie in some inputs. The first byte says how.
#include <cstddef>
#include <cstdint>
#include <string>

#include "fuzz/target.h"
#include "huggingface/safetensors.h"

namespace steelyard::huggingface {
namespace {

using fuzz::allow_errors, fuzz::g_sink, fuzz::MemoryFile;

void use(const std::string& path, gguf::ReadMode mode) {
  allow_errors([&] {
    const Safetensors file(path, mode);
    uint64_t end = 0;
    for (const StoredTensor& tensor : file.tensors()) {
      STEELYARD_CHECK(tensor.begin == end);
      end = tensor.end;
      g_sink = tensor.name.size() + static_cast<uint64_t>(tensor.n_values()) + shape_string(tensor.shape).size();
      STEELYARD_CHECK(static_cast<uint64_t>(tensor.n_values()) * value_bytes(tensor.dtype) ==
                      tensor.end - tensor.begin);
      if (mode == gguf::ReadMode::kHeader) continue;
      for (const std::byte byte : file.bytes(tensor)) g_sink = static_cast<uint64_t>(byte);
    }
  });
}

}  // namespace
}  // namespace steelyard::huggingface

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace steelyard;
  static fuzz::MemoryFile file;
  if (size == 0) return 0;
  const uint8_t how = data[0];
  std::string bytes;
  if (how % 4 != 3) {
    const uint64_t length = size - 1 + (how % 4 == 2 ? how : 0);
    bytes.assign(reinterpret_cast<const char*>(&length), sizeof length);
  }
  bytes.append(reinterpret_cast<const char*>(data) + 1, size - 1);
  bytes.append(size_t{how} / 4 * 4, '\x3f');
  file.set(bytes.data(), bytes.size());
  huggingface::use(file.path(), gguf::ReadMode::kData);
  huggingface::use(file.path(), gguf::ReadMode::kHeader);
  return 0;
}
