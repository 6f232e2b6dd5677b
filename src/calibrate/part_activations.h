// What a token takes in memory on its way through a layer's mixer or its FFN, which a calibration passes one after the
// other, with scratch memory that the next one uses again. Part of the plan of memory (calibration_memory.h).
#pragma once

#include <cstdint>
#include <span>

#include "gguf/tensor_info.h"
#include "model/config.h"

namespace steelyard::calibrate {

/// Bytes, an upper bound: inputs and outputs of the products of the widest part of any layer of the trunk. What gate
/// and up of an FFN read is counted once, and what a mixer reads for each product, which leaves room for norms and
/// copies.
uint64_t part_bytes_per_token(std::span<const gguf::TensorInfo> tensors, const model::ModelConfig& config);

}  // namespace steelyard::calibrate
