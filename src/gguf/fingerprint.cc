#include "gguf/fingerprint.h"

#include <algorithm>

#include "base/sha256.h"

namespace steelyard::gguf {

constexpr size_t kBytes = 4096;  // of each tensor

std::string fingerprint(const Source& reader) {
  // Asked for by range, they come without the megabytes around them that the system would read with a page that is
  // missed.
  for (const TensorInfo& tensor : reader.tensors())
    reader.will_need(tensor, 0, std::min<uint64_t>(tensor.n_bytes, kBytes));
  Sha256 hash;
  for (int shard = 0; shard < reader.n_shards(); ++shard) hash.update(reader.header(shard));
  for (const TensorInfo& tensor : reader.tensors()) {
    hash.update(reader.read(tensor, 0, std::min<uint64_t>(tensor.n_bytes, kBytes)));
  }
  return hash.hex();
}

}  // namespace steelyard::gguf
