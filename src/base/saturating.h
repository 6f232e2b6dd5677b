// Sums and products of sizes that end at the largest number instead of wrapping. For estimates of memory from a header
// that nothing has proved yet: too much stays too much. Where a wrong size must be refused, use checked.h.
#pragma once

#include <cstdint>
#include <limits>

#include "base/checked.h"

namespace steelyard {

inline constexpr uint64_t kSaturated = std::numeric_limits<uint64_t>::max();

inline uint64_t saturating_add(uint64_t a, uint64_t b) { return checked_add(a, b).value_or(kSaturated); }
inline uint64_t saturating_mul(uint64_t a, uint64_t b) { return checked_mul(a, b).value_or(kSaturated); }
inline uint64_t saturating_sub(uint64_t a, uint64_t b) { return a > b ? a - b : 0; }

/// The sum of all.
template <typename... Rest>
uint64_t saturating_add(uint64_t a, uint64_t b, Rest... rest) {
  return saturating_add(saturating_add(a, b), rest...);
}

}  // namespace steelyard
