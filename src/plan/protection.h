// Which tensors a plan leaves unchanged: small ones that are not worth quantizing, and ones that every runtime expects
// in their present type. Called by resolve(); explained in docs/plan.md.
#pragma once

#include <optional>
#include <string_view>

#include "gguf/tensor_info.h"

namespace steelyard::plan {

/// Why a tensor is kept in its source type ("norm", "router", ...), or nothing when plans decide about it.
std::optional<std::string_view> protection(const gguf::TensorInfo& tensor);

}  // namespace steelyard::plan
