// Rows of one tensor from its source type to its target type. A row's bytes depend on nothing but the row, its
// importance and the effort, so rows may be encoded in any order and by any number of threads. Called by stream.h.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "formats/device_encoder.h"
#include "gguf/tensor_info.h"
#include "imatrix/imatrix.h"

namespace steelyard {

/// A weight of the source that no type can hold. Unlike a full disk, nothing but another source helps.
class BadWeight : public Error {
 public:
  using Error::Error;
};

class RowEncoder {
 public:
  /// `tensor` has its bytes `source` in its own type. A target of that type copies. `path`: the source's name for
  /// messages. imatrix may be null. `device`: where to encode what it can; null: the processor.
  RowEncoder(const gguf::TensorInfo& tensor, std::span<const std::byte> source, const Format& target,
             const Imatrix* imatrix, Effort effort, std::string path, DeviceEncoder* device = nullptr);

  size_t source_row_bytes() const { return source_row_; }
  size_t target_row_bytes() const { return target_row_; }

  /// Encoding is the device's: one thread at a time, and many rows in a call.
  bool on_device() const { return device_ != nullptr; }

  /// Writes rows [begin, begin + n) to `out` [n * target_row_bytes()]. Thread-safe, unless on_device().
  /// BadWeight naming tensor, row and column for a value that is not finite.
  void encode(int64_t begin, int64_t n, std::byte* out) const;

 private:
  void decode(int64_t row, float* x) const;
  const float* importance(int64_t row) const;
  void encode_on_device(int64_t begin, int64_t n, std::byte* out) const;

  const gguf::TensorInfo& tensor_;
  std::span<const std::byte> source_;
  const Format& from_;
  const Format& to_;
  Effort effort_;
  std::string path_;
  DeviceEncoder* device_;
  size_t source_row_, target_row_;
  std::vector<std::vector<float>> importance_;  // [slices][ne0]; a slice without importance is empty
};

}  // namespace steelyard
