// Encoding on a device instead of the CPU: implemented by a backend's device (compute/cuda/encoders.h), used by
// quantize/encode.cc and quantize/ldlq.cc. Several threads may call; one waits for the other.
#pragma once

#include <cstddef>
#include <cstdint>

#include "formats/format.h"
#include "formats/ldlq_inputs.h"

namespace steelyard::formats {

class DeviceEncoder {
 public:
  virtual ~DeviceEncoder() = default;

  /// The CPU encodes the other types.
  virtual bool encodes(Type type) const = 0;

  /// Writes what the type's Encoder::encode_row writes for each row, byte for byte. All memory is the host's. x:
  /// [n_rows, n_cols] of whole blocks; importance: [n_cols], the same for all rows, or null.
  virtual void encode(Type type, const float* x, int64_t n_rows, int64_t n_cols, const float* importance, Effort effort,
                      std::byte* out) = 0;

  /// Writes what LdlqEncoder::encode writes on the CPU (quantize/ldlq.h), byte for byte. All memory, including
  /// that of `inputs`, is the host's. x: [n_rows, inputs.n].
  virtual void encode_ldlq(Type type, const LdlqInputs& inputs, const float* x, int64_t n_rows, std::byte* out) = 0;
};

}  // namespace steelyard::formats
