// Reads a GGUF file (v2, v3, little-endian), or a set of shards -00001-of-0000N, through memory maps.
//
// Everything is checked once, in the constructor: magic, version, every count, length, type, offset and size against
// the real length of the file. Afterwards views cannot fail.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/mapped_file.h"
#include "base/text_hash.h"
#include "gguf/metadata.h"
#include "gguf/tensor_info.h"

namespace steelyard::gguf {

/// What the caller needs of a file.
enum class ReadMode {
  kData,    ///< tensor bytes: every tensor must lie within the file
  kHeader,  ///< names, shapes and types only: a header without data is enough
};

class Reader {
 public:
  /// Opens `path`; if it is the first shard of a set, all shards (each must exist, and count and number of tensors must
  /// agree). Error names the file, the key or tensor, what was found and what was expected.
  explicit Reader(const std::string& path, ReadMode mode = ReadMode::kData);

  const std::string& path() const { return path_; }
  /// Metadata of the first shard.
  const Metadata& metadata() const { return metadata_; }
  /// In file order, shard after shard.
  std::span<const TensorInfo> tensors() const { return tensors_; }
  /// Null when there is no such tensor.
  const TensorInfo* find(std::string_view name) const;
  /// The tensor's bytes [n_bytes] in the map. Needs ReadMode::kData.
  std::span<const std::byte> bytes(const TensorInfo& tensor) const;

  uint32_t version() const { return version_; }
  /// Of the first shard.
  uint64_t alignment() const { return alignment_; }
  int n_shards() const { return static_cast<int>(files_.size()); }
  const std::string& shard_path(int shard) const { return files_[static_cast<size_t>(shard)].path(); }
  /// Everything before the data of a shard, padding included.
  std::span<const std::byte> header(int shard) const;
  /// Place of the tensor's first byte in the file of its shard.
  uint64_t file_offset(const TensorInfo& tensor) const;
  /// Bytes [begin, end) of a tensor will be read soon, or not again. So a source larger than memory does not push other
  /// data out of it. Hints to the kernel; no byte changes.
  void will_need(const TensorInfo& tensor, uint64_t begin, uint64_t end) const;
  void release(const TensorInfo& tensor, uint64_t begin, uint64_t end) const;
  /// Sum of n_bytes over all tensors.
  uint64_t total_bytes() const { return total_bytes_; }

 private:
  Metadata read_shard(const std::string& path);
  void read_remaining_shards();

  std::string path_;
  ReadMode mode_;
  Metadata metadata_;
  uint32_t version_ = 0;
  uint64_t alignment_ = 32;
  uint64_t total_bytes_ = 0;
  std::vector<MappedFile> files_;
  std::vector<uint64_t> data_begin_;  // per shard: start of the data section in the file
  std::vector<TensorInfo> tensors_;
  std::unordered_map<std::string_view, size_t, TextHash> by_name_;  // keys point into tensors_, which no longer grows
};

}  // namespace steelyard::gguf
