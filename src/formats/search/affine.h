// The encoder steps of Q4_1 and Q5_1: value = d * code + m, both halves. What is left to the format is pack.
//
// Offsets may have either sign, unlike the minima of the K types. affine.cc says why their search works all the same.
#pragma once

#include <cstdint>

#include "base/half.h"
#include "formats/encoder.h"
#include "formats/group.h"
#include "simd/this_target.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

struct Affine {
  Half d;
  Half m;
};

inline constexpr int kAffineLen = 32;  ///< values per block

/// Codes run from 0 to `high`.
STEELYARD_HD Affine fit_affine(int high, const float* x, const float* w, Effort effort, uint32_t* codes);
STEELYARD_HD uint32_t round_affine(int high, float x, Affine scales, float* value);
STEELYARD_HD Affine refit_affine(const float* x, const float* w, const uint32_t* codes, Affine scales);

/// Base of a traits struct F, whose codes run from 0 to kMaxCode.
template <class F>
struct OneAffineEncoder {
  static constexpr int kVectorDim = 1;
  using Scales = Affine;

  STEELYARD_HD static Scales fit(const float* x, const float* w, Effort effort, uint32_t* codes) {
    return fit_affine(F::kMaxCode, x, w, effort, codes);
  }
  STEELYARD_HD static uint32_t round(const float* x, const float*, const Scales& scales, int, float* values) {
    return round_affine(F::kMaxCode, *x, scales, values);
  }
  STEELYARD_HD static void refit(const float* x, const float* w, const uint32_t* codes, Scales& scales) {
    scales = refit_affine(x, w, codes, scales);
  }
};

}  // namespace steelyard::formats::inline STEELYARD_TARGET
