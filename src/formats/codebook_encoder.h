// The encoder steps that formats with a codebook of magnitudes, free signs and 4-bit scales share (IQ2_S, IQ3_S). What
// is left to the format is pack, and where its bits lie.
#pragma once

#include <cstdint>

#include "formats/codebook.h"
#include "formats/search.h"

namespace steelyard {

/// Base of a traits struct F, which has kBlockLen, kSubBlocks, kJoint, kIndexBits (of a codeword), kUnit (a sub-block's
/// scale is d * kUnit * (2 * step + 1)), scale_of(d, step) and codebook(). A code is the index of the codeword and
/// above it one sign bit per value.
template <class F>
struct CodebookEncoder {
  using Scales = SteppedScales;

  static void objective(const float* x, const float* importance, float* w) {
    importance_objective(x, importance, F::kBlockLen, w);
  }

  static Scales fit(const float* x, const float* w) {
    return search_stepped_scales(F::codebook(), x, w, F::kSubBlocks, F::kUnit);
  }

  static uint32_t round(const float* x, const float* w, const Scales& scales, int position, float* values) {
    const float scale = F::scale_of(scales.d, scales.step[position / (F::kBlockLen / F::kSubBlocks)]);
    const uint32_t index = F::codebook().nearest(x, w, scale);
    uint32_t signs = 0;
    for (int j = 0; j < F::kJoint; ++j) {
      const float magnitude = scale * F::codebook().value(index, j);
      signs |= static_cast<uint32_t>(x[j] < 0.0f) << j;
      values[j] = x[j] < 0.0f ? -magnitude : magnitude;
    }
    return index | signs << F::kIndexBits;
  }

  static void refit(const float* x, const float* w, const uint32_t* codes, Scales& scales) {
    float q[F::kBlockLen];
    for (int i = 0; i < F::kBlockLen; ++i) {
      const uint32_t code = codes[i / F::kJoint];
      const float magnitude = F::codebook().value(index_of(code), i % F::kJoint);
      q[i] = (signs_of(code) >> (i % F::kJoint)) & 1 ? -magnitude : magnitude;
    }
    refit_stepped_scales(x, w, q, F::kSubBlocks, F::kUnit, scales);
  }

  static uint32_t index_of(uint32_t code) { return code & ((1u << F::kIndexBits) - 1); }
  static uint32_t signs_of(uint32_t code) { return code >> F::kIndexBits; }
};

}  // namespace steelyard
