#include "jobs/device_options.h"

#include <algorithm>

#include "base/byte_size.h"
#include "base/error.h"

namespace steelyard::jobs {

// A number without a unit was meant in another than bytes.
std::vector<uint64_t> DeviceOptions::free_bytes() const {
  constexpr uint64_t kLeast = 1 << 20;
  std::vector<uint64_t> sizes = parse_byte_list(vram);
  for (uint64_t& bytes : sizes) {
    if (bytes > 0 && bytes < kLeast) fail("", "--vram {}: {} bytes? Give a unit: {}GiB", printable(vram), bytes, bytes);
    bytes -= std::min(bytes, reserve);
  }
  return sizes;
}

schedule::MemoryRequest DeviceOptions::memory_request(const model::ModelConfig& config, int64_t n_context) const {
  if (sequences < 1) fail("", "--sequences: expected at least 1, found {}", sequences);
  if (batch_size < 1) fail("", "--batch-size: expected at least 1, found {}", batch_size);
  if (n_context < 0) fail("", "--ctx-size: expected at least 1, found {}", n_context);
  schedule::MemoryRequest request{
      .n_context = n_context, .n_sequences = sequences, .n_batch = batch_size, .cache_types = cache.types()};
  for (const model::LayerConfig& layer : config.layers) check_cache_types(layer.attention, request.cache_types);
  if (request.n_context > config.n_context) {
    fail("", "a context of {} tokens exceeds the model's {}", request.n_context, config.n_context);
  }
  return request;
}

}  // namespace steelyard::jobs
