// A folder as models are published in (config.json, safetensors, a tokenizer) as a source: what it would be as GGUF
// (docs/huggingface.md). Nothing is converted in advance. Bytes that are in a file as GGUF has them are views of its
// map; others are made from it, row by row, when they are asked for, by all threads.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "gguf/source.h"
#include "huggingface/checkpoint.h"
#include "huggingface/recipe.h"

namespace steelyard::huggingface {

class Folder final : public gguf::Source {
 public:
  /// Error naming file and key or tensor, as those who read them have it.
  explicit Folder(const std::string& path, gguf::ReadMode mode = gguf::ReadMode::kData);

  int n_shards() const override { return checkpoint_.n_shards() + static_cast<int>(texts_.size()); }
  const std::string& shard_path(int shard) const override;
  std::span<const std::byte> header(int shard) const override;
  /// What of the folder is no part of this: a line each.
  const std::vector<std::string>& notes() const { return recipes_.notes; }
  /// What a tensor takes in the checkpoint, scales included.
  uint64_t stored_bytes(const gguf::TensorInfo& tensor) const;
  using Source::read;
  gguf::Bytes read(const gguf::TensorInfo& tensor, uint64_t begin, uint64_t end) const override;
  void will_need(const gguf::TensorInfo& tensor, uint64_t begin, uint64_t end) const override;
  void release(const gguf::TensorInfo& tensor, uint64_t begin, uint64_t end) const override;

 private:
  void add_metadata(const Config& config, const Architecture& architecture);
  void cut_vocabulary();
  void add_tensors();
  const Recipe& recipe(const gguf::TensorInfo& tensor) const;
  template <typename Use>
  void for_stored(const gguf::TensorInfo& tensor, uint64_t begin, uint64_t end, bool whole, const Use& use) const;

  gguf::ReadMode mode_;
  Checkpoint checkpoint_;
  std::deque<MappedFile> texts_;  // all else that says what the model is
  std::vector<std::unique_ptr<StoredWeight>> weights_;
  Recipes recipes_;  // one for each tensor
  // Whole tensors that somebody holds, by their place: who asks again shares the memory.
  mutable std::mutex whole_mutex_;
  mutable std::map<const Recipe*, std::weak_ptr<std::byte>> whole_;
};

}  // namespace steelyard::huggingface
