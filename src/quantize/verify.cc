#include "quantize/verify.h"

#include <algorithm>
#include <span>
#include <vector>

#include "base/error.h"
#include "base/parallel.h"
#include "base/sha256.h"
#include "quantize/provenance.h"

namespace steelyard::quantize {

void verify(const gguf::Source& file, const std::function<void(size_t done, size_t count)>& progress) {
  const Recorded recorded = read_provenance(file);
  const std::span<const gguf::TensorInfo> tensors = file.tensors();
  // Some tensors at a time, so that progress is called between parallel loops; enough that a large one keeps few
  // threads waiting.
  const size_t together = 8 * static_cast<size_t>(omp_get_max_threads());
  for (size_t begin = 0; begin < tensors.size(); begin += together) {
    const size_t n = std::min(together, tensors.size() - begin);
    std::vector<char> same(n);  // one byte each: threads write side by side
    parallel_for(static_cast<int64_t>(n), 1, [&](int64_t item) {
      const gguf::TensorInfo& tensor = tensors[begin + static_cast<size_t>(item)];
      same[static_cast<size_t>(item)] =
          tensor_sha256(file, tensor) == recorded.tensors[begin + static_cast<size_t>(item)];
    });
    if (const auto bad = std::ranges::find(same, char{false}); bad != same.end()) {
      const gguf::TensorInfo& tensor = tensors[begin + static_cast<size_t>(bad - same.begin())];
      fail(file.shard_path(tensor.shard), "tensor {} is not what was written: its checksum differs",
           printable(tensor.name));
    }
    progress(begin + n, tensors.size());
  }
}

}  // namespace steelyard::quantize
