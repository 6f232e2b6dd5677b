// The tensors of a folder: of all its shards, by name. An index, where there is one, must agree with the shards.
#pragma once

#include <deque>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/text_hash.h"
#include "huggingface/safetensors.h"

namespace steelyard::huggingface {

class Checkpoint {
 public:
  /// Error as Safetensors; for a folder without shards, for a shard that is missing, for a tensor that is in two, and
  /// for an index that says otherwise.
  Checkpoint(const std::string& folder, gguf::ReadMode mode);

  /// Shard after shard, in the order of their bytes.
  std::span<const StoredTensor> tensors() const { return tensors_; }
  /// Null when there is no such tensor.
  const StoredTensor* find(std::string_view name) const;
  std::span<const std::byte> bytes(const StoredTensor& tensor) const { return shard(tensor.shard).bytes(tensor); }

  int n_shards() const { return static_cast<int>(shards_.size()); }
  const Safetensors& shard(int i) const { return shards_[static_cast<size_t>(i)]; }
  const std::string& path(const StoredTensor& tensor) const { return shard(tensor.shard).path(); }
  /// The index; null where there is none.
  const MappedFile* index() const { return index_ ? &*index_ : nullptr; }

 private:
  std::vector<std::string> indexed_shards(const std::string& folder);
  void check_index() const;

  std::deque<Safetensors> shards_;
  std::optional<MappedFile> index_;
  std::unordered_map<std::string, std::string, TextHash> places_;  // what the index says: tensor to name of a file
  std::vector<StoredTensor> tensors_;
  std::unordered_map<std::string_view, size_t, TextHash> by_name_;  // keys point into tensors_, which no longer grows
};

}  // namespace steelyard::huggingface
