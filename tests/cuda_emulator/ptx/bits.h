// The instructions of PTX that move bits about. Private to the interpreter.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "cuda_emulator/ptx/tables.h"
#include "cuda_emulator/ptx/values.h"

namespace steelyard::cuda_emulator::ptx {

inline uint32_t funnel_shift(int variant, uint32_t low, uint32_t high, uint32_t n) {
  n = variant & kFunnelClamp ? std::min(n, 32u) : n & 31;
  const uint64_t both = uint64_t(high) << 32 | low;
  return variant & kFunnelRight ? uint32_t(both >> n) : uint32_t(both << n >> 32);
}

inline uint64_t extract(Type type, uint64_t value, int begin, int length) {
  const int bits = 8 * size_of(type);
  uint64_t field = begin >= bits ? 0 : narrow(value, type) >> begin;
  if (length < 64) field &= (uint64_t(1) << length) - 1;
  if (!is_signed(type) || length == 0) return narrow(field, type);
  const int top = std::min(begin + length - 1, bits - 1), width = std::clamp(bits - begin, 0, length);
  if (value >> top & 1 && width < 64) field |= ~uint64_t(0) << width;
  return narrow(field, type);
}

inline uint64_t insert(Type type, uint64_t field, uint64_t into, int begin, int length) {
  if (begin >= 8 * size_of(type) || length == 0) return narrow(into, type);
  const uint64_t mask = (length >= 64 ? ~uint64_t(0) : (uint64_t(1) << length) - 1) << begin;
  return narrow((into & ~mask) | (field << begin & mask), type);
}

inline uint32_t permute(uint32_t a, uint32_t b, uint32_t selector) {
  const uint64_t bytes = uint64_t(b) << 32 | a;
  uint32_t out = 0;
  for (int n = 0; n < 4; ++n) {
    const uint32_t each = selector >> (4 * n);
    uint32_t byte = bytes >> (8 * (each & 7)) & 255;
    if (each & 8) byte = byte & 128 ? 255 : 0;
    out |= byte << (8 * n);
  }
  return out;
}

inline uint64_t find_top(const Instruction& i, uint64_t value) {
  if (is_signed(i.type) && int64_t(value) < 0) value = ~value;
  value = narrow(value, i.type);
  if (value == 0) return 0xFFFFFFFF;
  const int top = 63 - std::countl_zero(value);
  return uint64_t(i.has("shiftamt") ? 8 * size_of(i.type) - 1 - top : top);
}

inline uint32_t look_up(uint32_t a, uint32_t b, uint32_t c, uint32_t table) {
  uint32_t out = 0;
  for (int n = 0; n < 32; ++n) out |= (table >> ((a >> n & 1) << 2 | (b >> n & 1) << 1 | (c >> n & 1)) & 1) << n;
  return out;
}

inline uint64_t pack_halves(Type type, uint64_t high, uint64_t low) {
  return from_double(to_double(high, kF32), type) << 16 | from_double(to_double(low, kF32), type);
}

}  // namespace steelyard::cuda_emulator::ptx
