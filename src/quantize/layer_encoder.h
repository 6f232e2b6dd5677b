// How calibration takes part in quantize(): an encoder that knows more about a tensor than its rows.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "plan/resolve.h"

namespace steelyard::quantize {

class LayerEncoder {
 public:
  virtual ~LayerEncoder() = default;
  /// Whether calibration knows the inputs of this tensor, so that it needs no imatrix.
  virtual bool covers(const plan::Decision& decision) const = 0;
  /// The tensor's bytes in its decided type; nothing for a tensor that is not covered. Called in file order.
  virtual std::optional<std::vector<std::byte>> encode(const plan::Decision& decision) = 0;
  /// An interrupted run has encoded the tensor as `bytes`, which stay valid. Called for all such tensors before the
  /// first encode().
  virtual void finished(const plan::Decision& decision, std::span<const std::byte> bytes) = 0;
};

}  // namespace steelyard::quantize
