#include "gguf/fingerprint.h"

#include <algorithm>

#include "base/sha256.h"

namespace steelyard::gguf {

std::string fingerprint(const Reader& reader) {
  Sha256 hash;
  for (int shard = 0; shard < reader.n_shards(); ++shard) hash.update(reader.header(shard));
  for (const TensorInfo& tensor : reader.tensors()) {
    const auto bytes = reader.bytes(tensor);
    hash.update(bytes.first(std::min<size_t>(bytes.size(), 4096)));
  }
  return hash.hex();
}

}  // namespace steelyard::gguf
