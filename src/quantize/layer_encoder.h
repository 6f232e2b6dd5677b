// The seam through which calibration takes part in quantize(): an encoder that knows more of a tensor than its rows.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "plan/resolve.h"

namespace steelyard {

class LayerEncoder {
 public:
  virtual ~LayerEncoder() = default;
  /// Whether calibration tells what the inputs of this tensor are like, so that it needs no imatrix.
  virtual bool covers(const Decision& decision) const = 0;
  /// The tensor's bytes in the type that was decided; nothing for one that is not covered. Asked for in file order.
  virtual std::optional<std::vector<std::byte>> encode(const Decision& decision) = 0;
  /// An interrupted run has encoded the tensor: `bytes`, which stay where they are. Called for all such tensors before
  /// the first encode().
  virtual void finished(const Decision& decision, std::span<const std::byte> bytes) = 0;
};

}  // namespace steelyard
