// Rows of weights of any type, decoded or multiplied with one activation straight from their blocks; compiled once per
// instruction set (rows.isa.cc). What a type is comes from src/formats; here its unpacker is inlined into the loops.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/isa.h"
#include "formats/format.h"

namespace steelyard::cpu {

inline constexpr int kByteBlock = 32;  ///< values of a ByteInput that share a scale

/// An activation as codes in -127 .. 127, each block of 32 with a scale of its own.
struct ByteInput {
  int8_t* codes;
  float* scales;      ///< one per 32 values; NaN where a value is not finite
  float* group_sums;  ///< one per 16 values, of scale * code
  float* block_sums;  ///< one per 32 values
};

struct Rows {
  /// As Format::decode, to the bit.
  void (*decode)(const std::byte* blocks, int64_t n_blocks, float* out);
  /// sum of w[i] * x[i] over n_blocks blocks.
  float (*dot)(const std::byte* blocks, int64_t n_blocks, const float* x);
  /// The same with integer products; null for types that are no groups.
  float (*dot_bytes)(const std::byte* blocks, int64_t n_blocks, const ByteInput& x);
};

/// The functions for one type, which must have a decoder, of an instruction set that the processor must have.
const Rows& rows(Isa isa, const Format& format);

/// Fills `out` from x [n], n a multiple of 32.
void quantize_bytes(Isa isa, const float* x, int64_t n, const ByteInput& out);

}  // namespace steelyard::cpu
