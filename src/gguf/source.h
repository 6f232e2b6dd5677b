// A model as commands see it: metadata and tensors in GGUF's terms, and the bytes of tensors by ranges.
//
// A GGUF file is one (reader.h): its bytes are views of a map. A folder of Hugging Face is another
// (huggingface/folder.h): its bytes are made when they are asked for, where they are not in its files as they are.
// Whoever takes a model by rows needs no more memory for the one than for the other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/text_hash.h"
#include "gguf/metadata.h"
#include "gguf/tensor_info.h"

namespace steelyard::gguf {

/// What the caller needs of a file.
enum class ReadMode {
  kData,    ///< tensor bytes: every tensor must lie within the file
  kHeader,  ///< names, shapes and types only: a header without data is enough
};

/// Bytes of a tensor, and what keeps them: null where they are a view of a map, which lives as long as the source.
struct Bytes {
  std::span<const std::byte> view;
  std::shared_ptr<const std::byte> memory = nullptr;

  const std::byte* data() const { return view.data(); }
  size_t size() const { return view.size(); }
  operator std::span<const std::byte>() const { return view; }
};

class Source {
 public:
  virtual ~Source() = default;
  const std::string& path() const { return path_; }
  /// Of a GGUF in shards: those of the first.
  const Metadata& metadata() const { return metadata_; }
  /// In file order, shard after shard.
  std::span<const TensorInfo> tensors() const { return tensors_; }
  /// Null when there is no such tensor.
  const TensorInfo* find(std::string_view name) const;
  /// Sum of n_bytes over all tensors.
  uint64_t total_bytes() const { return total_bytes_; }
  /// Of GGUF; 0: another format.
  virtual uint32_t version() const { return 0; }
  /// Of the tensors in a GGUF file of this model.
  uint64_t alignment() const { return alignment_; }

  /// Files that the model is made of.
  virtual int n_shards() const = 0;
  virtual const std::string& shard_path(int shard) const = 0;
  /// What a file says besides the data of tensors; with that data it is what the model is.
  virtual std::span<const std::byte> header(int shard) const = 0;

  /// Bytes [begin, end) of a tensor. Needs ReadMode::kData.
  virtual Bytes read(const TensorInfo& tensor, uint64_t begin, uint64_t end) const = 0;
  Bytes read(const TensorInfo& tensor) const { return read(tensor, 0, tensor.n_bytes); }
  /// Bytes [begin, end) of a tensor will be read soon, or not again. So a source larger than memory does not push other
  /// data out of it. Hints to the kernel; no byte changes.
  virtual void will_need(const TensorInfo& tensor, uint64_t begin, uint64_t end) const = 0;
  virtual void release(const TensorInfo& tensor, uint64_t begin, uint64_t end) const = 0;

 protected:
  explicit Source(std::string path) : path_(std::move(path)) {}
  Source(Source&&) = default;
  Source& operator=(Source&&) = default;
  /// To be called when all tensors are there: makes them known by name. Error for two of one name, and where all of
  /// them together have too many bytes or values to be counted.
  void index_tensors();

  std::string path_;
  Metadata metadata_;
  uint64_t alignment_ = kDefaultAlignment;
  std::vector<TensorInfo> tensors_;

 private:
  uint64_t total_bytes_ = 0;
  std::unordered_map<std::string_view, size_t, TextHash> by_name_;  // keys point into tensors_, which no longer grows
};

}  // namespace steelyard::gguf
