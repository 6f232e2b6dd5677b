// How much memory this process may use.
#pragma once

#include <cstdint>

namespace steelyard {

/// Bytes of physical memory, or what a control group (version 2) allows where that is less.
uint64_t physical_memory();

}  // namespace steelyard
