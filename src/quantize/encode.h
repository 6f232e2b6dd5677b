// Converts rows of one tensor from its source type to its target type. A row's bytes depend only on the row, the
// statistics of its inputs and the effort. So rows may be encoded in any order and by any number of threads. Called by
// stream.h.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "formats/device_encoder.h"
#include "gguf/source.h"
#include "gguf/tensor_info.h"
#include "imatrix/imatrix.h"
#include "plan/resolve.h"
#include "quantize/hessian_estimate.h"
#include "quantize/ldlq.h"
#include "quantize/lost_rows.h"

namespace steelyard::quantize {

/// A weight of the source that no type can hold. Unlike a full disk, only another source can fix this.
class BadWeight : public Error {
 public:
  using Error::Error;
};

class RowEncoder {
 public:
  /// A target of the tensor's own type copies. `path`: the source's name for messages. imatrix may be null. `input`:
  /// the estimated Hessian, or null; with it, rows whose columns have importance are rounded with error feedback.
  /// `device`: encodes the types that it can; null: the CPU.
  RowEncoder(const gguf::TensorInfo& tensor, const formats::Format& target, const imatrix::Imatrix* imatrix,
             formats::Effort effort, std::string path, const HessianEstimate* input = nullptr,
             formats::DeviceEncoder* device = nullptr);

  size_t source_row_bytes() const { return source_row_; }
  size_t target_row_bytes() const { return target_row_; }

  /// The target has the source's type: rows are copied.
  bool copies() const { return from_.type == to_.type; }
  /// The device encodes: one thread at a time, and many rows per call.
  bool on_device() const { return device_ != nullptr; }

  /// Rows that a call should have at least.
  int64_t min_rows() const;
  /// Memory for the state and the work space of one slice while its rows are encoded; 0 if there is nothing to prepare.
  uint64_t slice_bytes() const;

  /// Must be called before rows [begin, begin + n) are encoded. Discards the state of other slices. Parallel inside.
  void prepare(int64_t begin, int64_t n);
  /// Writes rows [begin, begin + n), which are `rows` in the source [n * source_row_bytes()], to `out`
  /// [n * target_row_bytes()]. Thread-safe, unless on_device().
  /// BadWeight naming tensor, row and column for a value that is not finite.
  void encode(int64_t begin, int64_t n, const std::byte* rows, std::byte* out) const;

  /// Weights of the rows encoded so far that are not there any more.
  const LostRows& lost() const { return lost_; }

 private:
  void decode(int64_t row, const std::byte* from, float* x) const;
  void encode_slice(size_t slice, int64_t begin, int64_t n, const std::byte* rows, std::byte* out) const;

  const gguf::TensorInfo& tensor_;
  const formats::Format& from_;
  const formats::Format& to_;
  formats::Effort effort_;
  std::string path_;
  const HessianEstimate* input_;
  formats::DeviceEncoder* device_;
  size_t source_row_, target_row_;
  std::vector<std::vector<float>> importance_;    // [slices][ne0]; a slice without importance is empty
  std::vector<std::optional<LdlqEncoder>> ldlq_;  // [slices] with an input; those that are prepared
  int64_t n_done_ = 0;                            // slices whose encoders are released
  mutable LostRows lost_;                         // thread-safe
};

/// All rows of a tensor in its decided type, on the CPU. `inputs`: estimated Hessians, or null. BadWeight as encode().
std::vector<std::byte> encode_tensor(const gguf::Source& source, const plan::Decision& decision,
                                     const imatrix::Imatrix* imatrix, formats::Effort effort,
                                     const HessianEstimates* inputs = nullptr);

}  // namespace steelyard::quantize
