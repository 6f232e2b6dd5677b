// Matrix products over panels, compiled once per target (gemm.simd.cc).
//
// A panel holds `panel` weight rows side by side, with value k of all of them in one row of memory. So one activation
// is multiplied with a vector of weights, and no sum is ever taken across lanes. The order of each sum depends on k
// alone: not on the number of rows, tokens or threads.
//
// There are two kinds of panels. F32 panels are products as they are. Integer panels hold 16-bit codes with one scale
// per kCodeBlock values and row, against activations in the same form: twice the products per instruction, at an error
// of about 2^-13 of each block's largest value. 4095 * 8191 * 64 < 2^31, so that integer sums of one block are exact.
#pragma once

#include <cstdint>

#include "simd/target.h"

namespace steelyard::compute::cpu {

inline constexpr int kCodeBlock = 64;           ///< values that share a scale
inline constexpr float kWeightCodes = 4095.0f;  ///< codes of weights are in -4095 .. 4095
inline constexpr float kInputCodes = 8191.0f;   ///< of activations

struct Gemm {
  int panel;  ///< weight rows per panel

  /// rows: [n, k] with leading dimension ld, n <= panel. out: [k, panel], zeros beside the rows there are.
  void (*pack)(const float* rows, int64_t ld, int64_t n, int64_t k, float* out);
  /// The same in pairs of values: rows [n, 2k] of 16 bits, out: [k, panel, 2].
  void (*pack_codes)(const int16_t* rows, int64_t ld, int64_t n, int64_t k, int16_t* out);

  /// c [m, n] = a [m, k] x panel, or += with `add`. Row i of the panel begins at b + i * ldb; n <= panel.
  void (*multiply)(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb, float* c,
                   int64_t ldc, bool add);

  /// The same for codes of n_blocks blocks. a: [m, n_blocks * 64] with scales [m, n_blocks] (leading dimensions lda,
  /// lda_scales); b: a panel of n_blocks * 32 pairs with scales [n_blocks, panel].
  void (*multiply_codes)(int64_t m, int64_t n, int64_t n_blocks, const int16_t* a, int64_t lda, const float* a_scales,
                         int64_t lda_scales, const int16_t* b, const float* b_scales, float* c, int64_t ldc, bool add);

  /// sum a[i] * b[i], i < n.
  float (*dot)(const float* a, const float* b, int64_t n);

  /// x [n] as codes in -levels .. levels, blocks of 64 with a scale each, the last filled up with zeros. Scales are
  /// scale_step apart. For non-finite values the scale is NaN, and so is every product with the block.
  void (*quantize)(const float* x, int64_t n, float levels, int16_t* codes, float* scales, int64_t scale_step);
};

/// The kernels of one target, which the processor must have.
const Gemm& gemm(simd::Target target);

}  // namespace steelyard::compute::cpu
