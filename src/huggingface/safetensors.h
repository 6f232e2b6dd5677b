// One file of tensors in the layout of safetensors, through a memory map: eight bytes with the length of a header in
// JSON, the header, and the tensors' bytes one after the other (docs/huggingface.md).
//
// Everything is checked once, in the constructor: length, names, types, shapes and places against the real length of
// the file. Afterwards views cannot fail.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/mapped_file.h"
#include "gguf/source.h"

namespace steelyard::huggingface {

/// Types of stored values, by the name that headers give them.
enum class Dtype {
  kF64,
  kF32,
  kF16,
  kBF16,
  kF8E4M3,
  kF8E5M2,
  kF8E8M0,
  kI64,
  kI32,
  kI16,
  kI8,
  kU64,
  kU32,
  kU16,
  kU8,
  kBool
};

std::string_view name(Dtype dtype);
uint64_t value_bytes(Dtype dtype);

/// A tensor as it is stored: the last dimension's values are neighbours. No dimension: one value.
struct StoredTensor {
  std::string name;
  Dtype dtype = Dtype::kF32;
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;  ///< from the start of the data
  int shard = 0;                ///< file of the checkpoint

  int64_t n_values() const;
};

/// "[2048, 1536]".
std::string shape_string(std::span<const int64_t> shape);

class Safetensors {
 public:
  /// Error names the file and the tensor, what was found and what was expected. kHeader: data may be missing.
  explicit Safetensors(const std::string& path, gguf::ReadMode mode = gguf::ReadMode::kData);

  const std::string& path() const { return file_.path(); }
  /// In the order of their bytes.
  std::span<const StoredTensor> tensors() const { return tensors_; }
  /// All before the tensors' bytes.
  std::span<const std::byte> header() const { return file_.bytes().first(data_begin_); }
  /// Those of a tensor, in the map. Needs kData.
  std::span<const std::byte> bytes(const StoredTensor& tensor) const;

  /// Hints to the kernel; bytes from the start of the data.
  void will_need(uint64_t begin, uint64_t end) const { file_.will_need(data_begin_ + begin, data_begin_ + end); }
  void release(uint64_t begin, uint64_t end) const { file_.release(data_begin_ + begin, data_begin_ + end); }

 private:
  void read_header();
  void check_places() const;

  MappedFile file_;
  gguf::ReadMode mode_;
  uint64_t data_begin_ = 0;
  std::vector<StoredTensor> tensors_;
};

}  // namespace steelyard::huggingface
