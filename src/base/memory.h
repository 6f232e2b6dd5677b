// How much memory this process may use.
#pragma once

#include <cstdint>

namespace steelyard {

/// Bytes of physical memory, or what a control group (version 2) allows where that is less.
uint64_t physical_memory();

/// Bytes that a job may use: what its user allows, or where that is 0 four fifths of the physical memory.
uint64_t usable_memory(uint64_t allowed);

}  // namespace steelyard
