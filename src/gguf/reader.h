// Reads a GGUF file (v2, v3, little-endian), or a set of shards -00001-of-0000N, through memory maps.
//
// Everything is checked once, in the constructor: magic, version, every count, length, type, offset and size against
// the real length of the file. Afterwards views cannot fail.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/mapped_file.h"
#include "gguf/metadata.h"
#include "gguf/source.h"
#include "gguf/tensor_info.h"

namespace steelyard::gguf {

class Reader final : public Source {
 public:
  /// Opens `path`; if it is the first shard of a set, all shards (each must exist, and count and number of tensors must
  /// agree). Error names the file, the key or tensor, what was found and what was expected.
  explicit Reader(const std::string& path, ReadMode mode = ReadMode::kData);

  /// The tensor's bytes [n_bytes] in the map. Needs ReadMode::kData.
  std::span<const std::byte> bytes(const TensorInfo& tensor) const;
  /// A view of them, without memory.
  using Source::read;
  Bytes read(const TensorInfo& tensor, uint64_t begin, uint64_t end) const override;

  uint32_t version() const override { return version_; }
  int n_shards() const override { return static_cast<int>(files_.size()); }
  const std::string& shard_path(int shard) const override { return files_[static_cast<size_t>(shard)].path(); }
  /// Everything before the data of a shard, padding included.
  std::span<const std::byte> header(int shard) const override;
  /// Place of the tensor's first byte in the file of its shard.
  uint64_t file_offset(const TensorInfo& tensor) const;
  void will_need(const TensorInfo& tensor, uint64_t begin, uint64_t end) const override;
  void release(const TensorInfo& tensor, uint64_t begin, uint64_t end) const override;

 private:
  Metadata read_shard(const std::string& path);
  void read_remaining_shards();

  ReadMode mode_;
  uint32_t version_ = 0;
  std::vector<MappedFile> files_;
  std::vector<uint64_t> data_begin_;  // per shard: start of the data section in the file
};

}  // namespace steelyard::gguf
