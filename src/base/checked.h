// Overflow-safe arithmetic for numbers that come from a file. Every count, length, offset and product is formed with
// these before it is used.
#pragma once

#include <cstdint>
#include <optional>

namespace steelyard {

/// a + b, or nothing when the sum does not fit 64 bits.
inline std::optional<uint64_t> checked_add(uint64_t a, uint64_t b) {
  uint64_t sum;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}

/// a * b, or nothing when the product does not fit 64 bits.
inline std::optional<uint64_t> checked_mul(uint64_t a, uint64_t b) {
  uint64_t product;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

/// `value` rounded up to a multiple of `step` (step > 0), or nothing when that does not fit 64 bits.
inline std::optional<uint64_t> checked_align(uint64_t value, uint64_t step) {
  const uint64_t rest = value % step;
  return rest == 0 ? std::optional<uint64_t>(value) : checked_add(value, step - rest);
}

}  // namespace steelyard
