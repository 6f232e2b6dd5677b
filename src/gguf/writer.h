// Writes a small GGUF file from front to back, such as an importance matrix. The complete header is known and written
// before the first tensor byte. The file appears under its name only when it is complete.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/atomic_file.h"
#include "gguf/layout.h"

namespace steelyard::gguf {

class Writer {
 public:
  /// Lays the tensors out in the given order (lay_out), reserves the disk space and writes the header. Error if the
  /// alignment is not a power of two, the file cannot be created or the disk is too small.
  Writer(const std::string& path, const Metadata& metadata, std::vector<TensorInfo> tensors);

  /// Offsets and sizes as laid out.
  std::span<const TensorInfo> tensors() const { return layout_.tensors; }
  /// Exact size of the finished file in bytes.
  uint64_t file_bytes() const { return layout_.file_bytes; }

  /// Appends bytes of the current tensor, at most what it still needs; a tensor may come in pieces. Padding after each
  /// tensor is added here.
  void append(std::span<const std::byte> bytes);

  /// All tensors must be complete. Syncs and renames the file into place.
  void finish();

 private:
  void pass_over_empty();

  AtomicFile file_;
  Layout layout_;
  size_t current_ = 0;          // tensor being written
  uint64_t current_bytes_ = 0;  // bytes of it written so far
};

}  // namespace steelyard::gguf
