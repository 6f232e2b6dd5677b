// The types with the least divergence whose plan has few rules: simplify() on the tangents of the loss model.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "gguf/tensor_info.h"
#include "search/loss_model.h"

namespace steelyard::search {

/// Types within the budget whose plan has at most `max_rules` rules, the base included. `damages` has all `tensors`
/// (with_all_tensors()); `best` is what allocate_types() gave for the budget, in bytes. Error as simplify().
Types simple_types(std::span<const gguf::TensorInfo> tensors, std::span<const TensorDamage> damages,
                   std::span<const std::vector<std::string>> ties, const Types& best, uint64_t budget_bytes,
                   size_t max_rules);

}  // namespace steelyard::search
