// One tensor from its source type to its target type, a bounded slab of rows at a time.
#pragma once

#include <cstddef>
#include <functional>
#include <span>

#include "gguf/tensor_info.h"
#include "imatrix/imatrix.h"

namespace steelyard {

/// Encodes `tensor` (bytes in its own type: `source`) as `target` and hands the result to `sink` in order, piece by piece.
/// Rows are encoded in parallel; the bytes do not depend on the number of threads. imatrix may be null.
/// Error naming tensor, row and column for a value that is not finite.
void encode_tensor(const gguf::TensorInfo& tensor, std::span<const std::byte> source, const Format& target,
                   const Imatrix* imatrix, const std::string& path,
                   const std::function<void(std::span<const std::byte>)>& sink);

}  // namespace steelyard
