// Any bytes as a GGUF file: reading them either throws Error or gives a Reader of which every view can be used.
//
// tests/gguf/fuzz_test.cc runs it on mutations of valid files, too.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "fuzz/target.h"
#include "gguf/reader.h"

namespace steelyard::gguf {
namespace {

using fuzz::allow_errors, fuzz::g_sink, fuzz::MemoryFile;

// Every getter, most of which refuse an entry of another type.
void use_every_getter(const Metadata& metadata, std::string_view key) {
  allow_errors([&] { g_sink = static_cast<uint64_t>(metadata.integer(key)); });
  allow_errors([&] { g_sink = metadata.real(key) > 0; });
  allow_errors([&] { g_sink = metadata.boolean(key, false); });
  allow_errors([&] { g_sink = metadata.array_size(key) + metadata.integers(key).size(); });
  allow_errors([&] { g_sink = metadata.reals(key).size(); });
  allow_errors([&] { g_sink = metadata.string(key).size(); });
  allow_errors([&] { g_sink = metadata.strings(key).size(); });
}

uint64_t sum_of(std::string_view text) {
  uint64_t sum = 0;
  for (const char c : text) sum += static_cast<unsigned char>(c);
  return sum;
}

void use_entry(const Metadata& metadata, const KeyValue& entry) {
  const std::string_view key = entry.key;
  STEELYARD_CHECK(metadata.find(key) == &entry);
  allow_errors([&] {
    if (entry.type == ValueType::kString) {
      g_sink = sum_of(metadata.string(key));
    } else if (entry.type == ValueType::kFloat32 || entry.type == ValueType::kFloat64) {
      g_sink = metadata.real(key) > 0;
    } else if (entry.type != ValueType::kArray) {
      g_sink = static_cast<uint64_t>(metadata.integer(key)) + (metadata.real(key) > 0);
    } else if (metadata.array_size(key) > 0) {
      const auto element = load_number<uint32_t>(entry.raw.data());
      if (element == static_cast<uint32_t>(ValueType::kString)) {
        for (const std::string_view text : metadata.strings(key)) g_sink = sum_of(text);
      } else {
        g_sink = metadata.reals(key).size() + metadata.integers(key).size();
      }
    }
  });
}

void use_metadata(const Metadata& metadata) {
  // Errors are slow, and the same for every key.
  constexpr size_t kWithEveryGetter = 2;
  const std::vector<KeyValue>& entries = metadata.entries();
  for (const KeyValue& entry : entries) use_entry(metadata, entry);
  for (size_t i = 0; i < std::min(entries.size(), kWithEveryGetter); ++i) use_every_getter(metadata, entries[i].key);
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
  static MemoryFile file;
  file.set(data, size);
  bool readable = true;
  for (const ReadMode mode : {ReadMode::kHeader, ReadMode::kData}) {
    readable = readable && allow_errors([&] {
                 const Reader reader(file.path(), mode);
                 if (mode == ReadMode::kHeader) use_metadata(reader.metadata());
                 use_reader(reader, mode == ReadMode::kData);
               });
  }
  return 0;
}
