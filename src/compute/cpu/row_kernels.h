// Rows of weights of any type, multiplied with activations straight from their blocks, or laid out as panels of bytes.
// Compiled once per target (row_kernels.simd.cc). The types come from src/formats; here their unpackers are inlined
// into the loops.
#pragma once

#include <cstddef>
#include <cstdint>

#include "compute/cpu/byte_panels.h"
#include "formats/format.h"
#include "simd/target.h"

namespace steelyard::compute::cpu {

struct RowKernels {
  /// sum of w[i] * x[i] over n_blocks blocks; null for types of groups, which have the functions below.
  float (*dot)(const std::byte* blocks, int64_t n_blocks, const float* x);
  /// The same for n_rows rows, row_bytes apart, with n_tokens tokens of an activation of one plane or of three. A
  /// token's results are in a row of their own, out_stride apart, and do not depend on how many there are.
  using DotBytes = void(const std::byte* rows, int64_t row_bytes, int64_t n_rows, int64_t n_blocks, const ByteInput& x,
                        int64_t n_tokens, float* out, int64_t out_stride);
  DotBytes *dot_one_plane, *dot_three_planes;
  /// n_blocks blocks of n_rows rows, in the layout of BytePanel but row by row; out.depth is a multiple of kByteSpan.
  void (*unpack)(const std::byte* rows, int64_t row_bytes, int64_t n_rows, int64_t n_blocks, const BytePanel& out);
  PanelKind panel_kind;
};

/// The functions for one type, which must have a decoder, and of one target, which the processor must support.
const RowKernels& row_kernels(simd::Target target, const formats::Format& format);

}  // namespace steelyard::compute::cpu
