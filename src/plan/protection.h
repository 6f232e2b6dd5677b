// Which tensors a plan leaves alone: small ones that are not worth a format, and ones that every runtime expects in the
// type they have. Called by resolve(); explained in docs/plan.md.
#pragma once

#include <optional>
#include <string_view>

#include "gguf/tensor_info.h"

namespace steelyard {

/// Why a tensor is kept in its source type ("norm", "router", ...), or nothing when plans decide about it.
std::optional<std::string_view> protection(const gguf::TensorInfo& tensor);

}  // namespace steelyard
