// Fewer rules for a choice of types: what allocate() finds may need a rule for every kind of tensor and type, which
// nobody wants to read.
#pragma once

#include <cstdint>
#include <span>

#include "gguf/tensor_info.h"
#include "search/allocation.h"
#include "search/plan_text.h"

namespace steelyard::search {

/// What plan_text() is given for a choice: the type of its candidate for every tensor of a group.
Types types_of(std::span<const Group> groups, std::span<const size_t> chosen);

/// What the tensors of each group lose. A group's loss is shared equally among its tensors, since nobody knows better.
std::map<std::string, double> losses_of(std::span<const Group> groups, std::span<const size_t> chosen);

/// How many lines plan_text() writes for these types, the base included; comments do not count.
size_t count_rules(std::span<const gguf::TensorInfo> tensors, const Types& types);

/// A choice whose plan has at most `max_rules` rules, the base included, and that stays within the budget. It starts
/// from `start` and merges rules where that adds least to the loss (bytes are counted at start.lambda each). Then it
/// allocates the budget again, to whole rules, and at last fills what is left with single layers. Error when there is
/// no such plan within the budget, or when `max_rules` is 0.
Allocation simplify(std::span<const gguf::TensorInfo> tensors, std::span<const Group> groups, const Allocation& start,
                    uint64_t budget_bytes, size_t max_rules);

}  // namespace steelyard::search
