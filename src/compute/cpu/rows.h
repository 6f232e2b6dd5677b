// Rows of weights of any type, decoded or multiplied with one activation straight from their blocks; compiled once per
// instruction set (rows.isa.cc). What a type is comes from src/formats; here its unpacker is inlined into the loops.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/isa.h"
#include "formats/format.h"

namespace steelyard::cpu {

/// An activation as 16-bit codes of 64 values to a scale (gemm.h), with the sum of each group of 16.
struct CodedInput {
  const int16_t* codes;
  const float* scales;      ///< one per 64 values
  const float* group_sums;  ///< one per 16 values, of scale * code
};

struct Rows {
  /// As Format::decode, to the bit.
  void (*decode)(const std::byte* blocks, int64_t n_blocks, float* out);
  /// sum of w[i] * x[i] over n_blocks blocks.
  float (*dot)(const std::byte* blocks, int64_t n_blocks, const float* x);
  /// The same with integer products; null for types that are no groups.
  float (*dot_codes)(const std::byte* blocks, int64_t n_blocks, const CodedInput& x);
};

/// The functions for one type, which must have a decoder, of an instruction set that the processor must have.
const Rows& rows(Isa isa, const Format& format);

/// group_sums of CodedInput from codes and scales of n values.
void add_group_sums(const int16_t* codes, const float* scales, int64_t n, float* group_sums);

}  // namespace steelyard::cpu
