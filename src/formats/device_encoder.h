// Encoding elsewhere than on the processor: implemented by a backend's device (compute/cuda/encoders.h), used by
// quantize/encode.cc.
#pragma once

#include <cstddef>
#include <cstdint>

#include "formats/format.h"

namespace steelyard {

class DeviceEncoder {
 public:
  virtual ~DeviceEncoder() = default;

  /// Other types are the processor's.
  virtual bool encodes(Type type) const = 0;

  /// Writes what the type's Encoder::encode_row writes for each row, byte for byte. All memory is the host's.
  /// x: [n_rows, n_cols] of whole blocks; importance: [n_cols], of all rows, or null.
  virtual void encode(Type type, const float* x, int64_t n_rows, int64_t n_cols, const float* importance, Effort effort,
                      std::byte* out) = 0;
};

}  // namespace steelyard
