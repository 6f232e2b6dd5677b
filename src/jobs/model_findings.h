// Findings about a model as a whole, where its architecture is known: tensors that it needs and does not have. Such a
// file can be quantized, and is found out only when it does not load. For `plan` and `quantize`.
#pragma once

#include <span>
#include <vector>

#include "gguf/metadata.h"
#include "gguf/tensor_info.h"
#include "plan/findings.h"

namespace steelyard::jobs {

/// Adds them, errors first. Nothing for files of an unknown architecture, adapters, and files without tensors.
void add_model_findings(const gguf::Metadata& metadata, std::span<const gguf::TensorInfo> tensors,
                        std::vector<plan::Finding>& found);

}  // namespace steelyard::jobs
