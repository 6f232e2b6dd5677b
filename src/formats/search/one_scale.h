// The encoder steps of the formats with fixed levels and one half per block as their scale: value = d * level(code). A
// format adds only its levels, and pack.
//
// Levels is a small constant object:
//   Floats nearest(const Floats& t) const;   the level nearest to t, lane by lane
//   uint32_t code(float t) const;          the code of the level nearest to t; of two as near, the lower code
//   float level(uint32_t code) const;
//   void codes(const float* x, int n, float scale, uint32_t* codes) const;   codes of n values under a scale
//
// A fit searches continuous scales in the SIMD lanes and codes the block under the half nearest to the best of them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "formats/search/search.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

/// Consecutive integers, coded from the lowest.
struct IntegerCodes : IntegerLevels {
  STEELYARD_HD uint32_t code(float t) const {
    return static_cast<uint32_t>(nearest_down(t, static_cast<int>(low), static_cast<int>(high)) -
                                 static_cast<int>(low));
  }
  STEELYARD_HD float level(uint32_t code) const { return low + static_cast<float>(code); }
  STEELYARD_HD void codes(const float* x, int n, float scale, uint32_t* codes) const {
    round_values(x, n, scale, 0.0f, static_cast<int>(low), static_cast<int>(high), codes);
  }
};

/// The range of a block's best scale: largest / (edge * t) for t from `low` to `high`.
struct Edges {
  float level[2];
  int n;

  STEELYARD_HD float of(int candidate) const { return candidate % n == 0 ? level[0] : level[1]; }

  STEELYARD_HD constexpr Edges(float only) : level{only, 0.0f}, n(1) {}
  STEELYARD_HD constexpr Edges(float one, float other) : level{one, other}, n(2) {}
};
struct ScaleRange {
  Edges edges;  ///< levels near which the largest value, with its sign, may come to lie
  float low;
  float high;
};

/// The scale of least weighted error for values up to 1 in magnitude. The candidates over the range are evenly spaced
/// in the inverse scale, because codes change with it. Other candidates follow around the best one. Least squares over
/// its codes improves each candidate.
template <class Levels>
STEELYARD_HD float search_levels(const Levels& levels, const ScaleRange& range, const float* x, const float* w, int n,
                                 Effort effort) {
  float largest = 0.0f;
  for (int i = 0; i < n; ++i) largest = std::fabs(x[i]) > std::fabs(largest) ? x[i] : largest;
  float best = 0.0f;
  float gain = 0.0f;
  const auto search = [&](const Edges& edges, float low, float high, int passes) {
    const int per_edge = kCandidates / edges.n;
    const float step = (high - low) / static_cast<float>(passes * per_edge);
    float t = low;
    for (int pass = 0; pass < passes; ++pass) {
      Candidates at, scales;
      for (int c = 0; c < kCandidates; ++c) {
        at.set(c, t);
        if ((c + 1) % edges.n == 0) t += step;
      }
      scales.fill([&](int c) { return largest / (edges.of(c) * at.own(c)); });
      improve_scale(levels, x, w, n, scales, best, gain);
    }
  };
  const int passes = effort == Effort::kFast ? 1 : effort == Effort::kNormal ? 2 : 8;
  search(range.edges, range.low, range.high, passes);
  if (effort == Effort::kFast || best == 0.0f) return best;
  // It may be best to give up a large value with little weight.
  search(range.edges, range.high, 4.0f * range.high, passes / 2);
  const float width = (range.high - range.low) / kCandidates;
  search(largest / best, 1.0f - width, 1.0f + width, 1);
  return best;
}

template <class Levels>
STEELYARD_HD Half fit_levels(const Levels& levels, const ScaleRange& range, const float* x, const float* w, int n,
                             Effort effort, uint32_t* codes) {
  Common<NormalizedBlock> normalized(x, w, n);
  const Half d = normalized->store(search_levels(levels, range, normalized->x, normalized->w, n, effort));
  levels.codes(x, n, to_float(d), codes);
  return d;
}

template <class Levels>
STEELYARD_HD uint32_t round_level(const Levels& levels, float x, float scale, float* value) {
  const uint32_t code = levels.code(scale == 0.0f ? 0.0f : x / scale);
  *value = scale * levels.level(code);
  return code;
}

template <class Levels>
STEELYARD_HD Half refit_levels(const Levels& levels, const float* x, const float* w, int n, const uint32_t* codes,
                               Half d) {
  ScaleSums sums;
  for (int i = 0; i < n; ++i) sums.add(x[i], w[i], levels.level(codes[i]));
  return refit_scale(sums, d);
}

/// Base of a traits struct F, which has levels() (Levels), range() (where to search) and kBlockLen.
template <class F>
struct OneScaleEncoder {
  static constexpr int kVectorDim = 1;
  struct Scales {
    Half d;
  };

  STEELYARD_HD static Scales fit(const float* x, const float* w, Effort effort, uint32_t* codes) {
    return {fit_levels(F::levels(), F::range(), x, w, F::kBlockLen, effort, codes)};
  }
  STEELYARD_HD static uint32_t round(const float* x, const float*, const Scales& scales, int, float* values) {
    return round_level(F::levels(), *x, to_float(scales.d), values);
  }
  STEELYARD_HD static void refit(const float* x, const float* w, const uint32_t* codes, Scales& scales) {
    scales.d = refit_levels(F::levels(), x, w, F::kBlockLen, codes, scales.d);
  }
};

}  // namespace steelyard::formats::inline STEELYARD_TARGET
