// The encoder steps that all codebook formats (IQ1, IQ2, IQ3) share: fit, which is the search of codebook_search.h,
// round, rescale and refit. A format adds only its numbers, and pack.
#pragma once

#include <algorithm>
#include <cstdint>

#include "formats/search/codebook_search.h"
#include "formats/span.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

/// Base of a traits struct F, which has beside what VectorSearch asks for: kBlockLen, kScaleLen, kSubScaleUnit,
/// kTypicalLevel (where the eighth-power mean of values lies at the best scale, in their median). What is usual stands
/// here; a format with another number declares its own.
template <class F>
struct CodebookEncoder {
  using Scales = CodebookScales;
  template <class Format>
  using SearchOf = CodebookSearch<Format>;
  static constexpr int kSubBlocks = F::kBlockLen / F::kScaleLen;
  static constexpr int kCodewords = 1;
  static constexpr int kVariants = 1;
  static constexpr int kSubScaleLevels = 16;

  /// The scale as a number, of the integer that is stored. Exact: a half has 11 bits.
  STEELYARD_HD static float scale_of(Half d, int sub_scale) { return stepped_scale<F>(to_float(d), sub_scale); }
  /// The same for the sub-block scales of 16 groups.
  STEELYARD_HD static Floats16 scales_of(Half d, const SubScales& sub_scales) {
    return to_floats(odd(sub_scales)) * (broadcast_half(d) * broadcast16(static_cast<float>(F::kSubScaleUnit)));
  }

  STEELYARD_HD static Scales fit(const float* x, const float* w, Effort effort, uint32_t* codes) {
    Common<CodebookSearch<F>> search(x, w, codebook_budget(effort));
    return search->run(codes);
  }

  STEELYARD_HD static uint32_t round(const float* x, const float* w, const Scales& scales, int position,
                                     float* values) {
    const int b = position / (F::kBlockLen / F::kSubBlocks);
    const float scale = F::scale_of(scales.d, scales.sub_scale[b]);
    // Relative to the scale and to the largest weight nothing overflows. Beyond kFar the largest codeword wins anyway.
    constexpr float kFar = 1e6f;
    float largest = w[0];
    for (int j = 1; j < F::kVectorDim; ++j) largest = std::max(largest, w[j]);
    float relative_x[F::kVectorDim];
    float relative_w[F::kVectorDim];
    for (int j = 0; j < F::kVectorDim; ++j) {
      relative_w[j] = largest > 0.0f ? w[j] / largest : 1.0f;
      relative_x[j] = scale > 0.0f ? std::clamp(x[j] / scale, -kFar, kFar) : 0.0f;
    }
    const VectorSearch<F> vector(relative_x, relative_w);
    Common<CodewordScore> best;
    vector.best_codes(ScaleGrid(1.0f, 1.0f, 1), SearchSet::kAll, scales.variant[b], &*best);
    const uint32_t code = vector.code(best->code);
    levels(code, scales.variant[b], values);
    for (int j = 0; j < F::kVectorDim; ++j) values[j] *= scale;
    return code;
  }

  STEELYARD_HD static void rescale(const float* x, const float* w, int position, Effort effort, Scales& scales) {
    const int b = position / (F::kBlockLen / F::kSubBlocks);
    Common<CodebookSearch<F, 1>> search(x, w, codebook_budget(effort));
    const Scales own = search->sub_scales_under(scales.d);
    once([&] {
      scales.sub_scale[b] = own.sub_scale[0];
      scales.variant[b] = own.variant[0];
    });
  }

  /// For given codes and sub-block scales, the block is one long vector of levels under the scale d.
  STEELYARD_HD static void refit(const float* x, const float* w, const uint32_t* codes, Scales& scales) {
    ScaleSums sums;
    for (int v = 0; v < F::kBlockLen / F::kVectorDim; ++v, x += F::kVectorDim, w += F::kVectorDim) {
      const int b = v / (F::kBlockLen / F::kSubBlocks / F::kVectorDim);
      const double multiple = F::kSubScaleUnit * (2 * scales.sub_scale[b] + 1);
      float q[F::kVectorDim];
      levels(codes[v], scales.variant[b], q);
      for (int j = 0; j < F::kVectorDim; ++j) sums.add(x[j], w[j], q[j] * multiple);
    }
    scales.d = refit_scale(sums, scales.d);
  }

  STEELYARD_HD static uint32_t index_of(uint32_t code, int vector = 0) {
    return (code >> (vector * F::kIndexBits)) & ((1u << F::kIndexBits) - 1);
  }
  /// Sign bits of the values, or the bit of the shift.
  STEELYARD_HD static uint32_t signs_of(uint32_t code) { return code >> (F::kCodewords * F::kIndexBits); }

  /// The signs of four codes, seven each, under a sub-block scale.
  STEELYARD_HD static uint32_t signs_and_sub_scale(const uint32_t* codes, int sub_scale) {
    uint32_t word = static_cast<uint32_t>(sub_scale) << 28;
    for (int k = 0; k < 4; ++k) word |= (signs_of(codes[k]) & 127) << (7 * k);
    return word;
  }

  /// Values [kVectorDim] of a code under scale 1.
  STEELYARD_HD static void levels(uint32_t code, int variant, float* values) {
    constexpr int kCodewordDim = F::kVectorDim / F::kCodewords;
    constexpr bool kShifted = F::kSigns == Signs::kShifted;
    const uint32_t signs = signs_of(code);
    const auto& book = book_of<F>(!kShifted ? 0 : F::kVariants == 2 ? variant : static_cast<int>(signs));
    for (int j = 0; j < F::kVectorDim; ++j) {
      const int value = book.value(static_cast<int>(index_of(code, j / kCodewordDim)), j % kCodewordDim);
      values[j] = static_cast<float>(!kShifted && (signs >> j & 1) != 0 ? -value : value);
    }
  }
};

}  // namespace steelyard::formats::inline STEELYARD_TARGET
