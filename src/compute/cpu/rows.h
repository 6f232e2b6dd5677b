// Rows of weights of any type, decoded or multiplied with one activation straight from their blocks; compiled once per
// instruction set (rows.isa.cc). What a type is comes from src/formats; here its unpacker is inlined into the loops.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/isa.h"
#include "formats/format.h"

namespace steelyard::cpu {

inline constexpr int kByteBlock = 32;   ///< values of a ByteInput that share a scale
inline constexpr int kByteRange = 256;  ///< values whose scales are integer multiples of one step
inline constexpr int kBlocksOfRange = kByteRange / kByteBlock;

/// An activation as codes in -127 .. 127, each block of 32 with a scale of its own: a multiple, 0 .. 127, of the step
/// of its range. A weight block whose scales are integers too is then summed up in integers.
struct ByteInput {
  int8_t* codes;
  int16_t* multiples;  ///< one per 32 values
  float* steps;        ///< one per 256 values; NaN where a value is not finite
  float* scales;       ///< one per 32 values: multiple * step
  float* group_sums;   ///< one per 16 values, of scale * code
  float* block_sums;   ///< one per 32 values
};

struct Rows {
  /// As Format::decode, to the bit.
  void (*decode)(const std::byte* blocks, int64_t n_blocks, float* out);
  /// sum of w[i] * x[i] over n_blocks blocks.
  float (*dot)(const std::byte* blocks, int64_t n_blocks, const float* x);
  /// The same for n_rows rows, row_bytes apart, with integer products; null for types that are no groups.
  void (*dot_bytes)(const std::byte* rows, int64_t row_bytes, int64_t n_rows, int64_t n_blocks, const ByteInput& x,
                    float* out);
};

/// The functions for one type, which must have a decoder, of an instruction set that the processor must have.
const Rows& rows(Isa isa, const Format& format);

/// Fills `out` from x [n], n a multiple of 32.
void quantize_bytes(Isa isa, const float* x, int64_t n, const ByteInput& out);

}  // namespace steelyard::cpu
