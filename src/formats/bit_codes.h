// Layouts of codes of few bits that several formats have, one value at a time: how they are written, and how one is
// read. In vectors they are read by span.h.
#pragma once

#include <cstdint>

#include "simd/host_device.h"
#include "simd/this_target.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

/// The low four bits of 2 n codes: byte i has code i in its low nibble and code n + i in its high one.
STEELYARD_HD inline void pack_nibbles(const uint32_t* codes, int n, uint8_t* bytes) {
  for (int i = 0; i < n; ++i) bytes[i] = static_cast<uint8_t>((codes[i] & 15) | (codes[n + i] & 15) << 4);
}

/// n numbers below 16: byte i has number 2 i in its low nibble and number 2 i + 1 in its high one.
STEELYARD_HD inline void pack_neighbours(const uint8_t* numbers, int n, uint8_t* bytes) {
  for (int i = 0; i < n / 2; ++i) bytes[i] = static_cast<uint8_t>(numbers[2 * i] | numbers[2 * i + 1] << 4);
}

/// Bit 4 of 32 codes: bit i of code i.
STEELYARD_HD inline uint32_t fifth_bits(const uint32_t* codes) {
  uint32_t bits = 0;
  for (int i = 0; i < 32; ++i) bits |= (codes[i] >> 4 & 1) << i;
  return bits;
}

/// One bit of 256 codes: bit p of byte j for code 32p + j.
STEELYARD_HD inline void pack_bit(const uint32_t* codes, int bit, uint8_t* bytes) {
  for (int j = 0; j < 32; ++j) {
    uint32_t byte = 0;
    for (int p = 0; p < 8; ++p) byte |= (codes[32 * p + j] >> bit & 1) << p;
    bytes[j] = static_cast<uint8_t>(byte);
  }
}

/// Two bits of 256 codes, from bit `shift` on: bits 2p, 2p + 1 of byte 32h + j for code 128h + 32p + j.
STEELYARD_HD inline void pack_two_bits(const uint32_t* codes, int shift, uint8_t* bytes) {
  for (int j = 0; j < 64; ++j) {
    const uint32_t* const first = codes + 128 * (j / 32) + j % 32;
    uint32_t byte = 0;
    for (int p = 0; p < 4; ++p) byte |= (first[32 * p] >> shift & 3) << (2 * p);
    bytes[j] = static_cast<uint8_t>(byte);
  }
}

/// Code i of group g in that layout.
STEELYARD_HD inline int two_bits(const uint8_t* bytes, int g, int i) {
  const uint8_t* const first = bytes + 32 * (g / 8) + 16 * (g % 2);
  return first[i] >> (2 * (g / 2 % 4)) & 3;
}

}  // namespace steelyard::formats::inline STEELYARD_TARGET
