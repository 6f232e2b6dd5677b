#include "quantize/verify.h"

#include <atomic>
#include <limits>

#include "base/error.h"
#include "base/parallel.h"
#include "base/sha256.h"
#include "quantize/provenance.h"

namespace steelyard {

void verify(const gguf::Reader& file, const std::function<void(size_t done, size_t count)>& progress) {
  const Recorded recorded = read_provenance(file);
  const size_t count = file.tensors().size();
  std::atomic<size_t> done = 0, first_bad = std::numeric_limits<size_t>::max();
  parallel_for(static_cast<int64_t>(count), 1, [&](int64_t item) {
    const auto i = static_cast<size_t>(item);
    const gguf::TensorInfo& tensor = file.tensors()[i];
    if (sha256(file.bytes(tensor)) != recorded.tensors[i]) {
      for (size_t seen = first_bad; i < seen && !first_bad.compare_exchange_weak(seen, i);) {
      }
    }
    file.release(tensor, 0, tensor.n_bytes);
    progress(++done, count);
  });
  if (first_bad < count) {
    const gguf::TensorInfo& tensor = file.tensors()[first_bad];
    fail(file.shard_path(tensor.shard), "tensor {} is not what was written: its checksum differs",
         printable(tensor.name));
  }
}

}  // namespace steelyard
