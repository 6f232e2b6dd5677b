// The search for the scale and minimum of a sub-block whose values are scale * q - min, q = 0 .. high, min >= 0.
//
// Called by the encoders of Q2_K, Q4_K and Q5_K (affine_encoder.h), and through search_affine by the types that store
// the pair as it is. Candidate pairs lie in the SIMD lanes. A pass tries 16.
#pragma once

#include "formats/search/search.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

/// The values of a sub-block minus their minimum (`base`, never above zero), so that sums of squares lose no digits to
/// a common offset, and other data that the search needs. Does not copy w.
struct AffineValues {
  static constexpr int kMaxLen = 32;

  AffineValues() = default;
  STEELYARD_HD AffineValues(const float* x, const float* weights, int count) { set(x, weights, count); }
  STEELYARD_HD void set(const float* x, const float* weights, int count);

  alignas(64) float y[kMaxLen];  ///< x - base
  const float* w;
  int n;
  float base;
  float highest;  ///< of y
  float w1;       ///< sum of w
  float y1;       ///< sum of w * y
  float yy;       ///< sum of w * y * y
};

/// Sums over the codes of a sub-block. They give the error of any pair for these fixed codes.
struct AffineSums {
  float q1 = 0.0f;  ///< sum of w * q
  float qq = 0.0f;  ///< sum of w * q * q
  float yq = 0.0f;  ///< sum of w * y * q
};

/// A pair, the codes of the values under some pair near it, and the error of both together.
struct AffineResult {
  AffineFit fit;
  float error;
  AffineSums sums;
};

struct AffineCandidates {
  Candidates scales, mins;
};

/// Rounds the values under every candidate. Each candidate then becomes the least-squares pair for its codes. Keeps the
/// best if it is better than `best`.
STEELYARD_HD void improve_affine(const AffineValues& values, float high, const AffineCandidates& candidates,
                                 AffineResult& best);

/// The best candidate, unchanged; returns its number.
STEELYARD_HD int best_affine(const AffineValues& values, float high, const AffineCandidates& candidates,
                             AffineResult& best);

/// How far the search for an unconstrained pair goes at each level of effort.
struct AffineBudget {
  int coarse;  ///< passes over ranges that cut off more and more
  int fine;    ///< passes around the best so far
};

STEELYARD_HD constexpr AffineBudget affine_budget(Effort effort) {
  switch (effort) {
    case Effort::kFast:
      return {.coarse = 1, .fine = 0};
    case Effort::kNormal:
      return {.coarse = 1, .fine = 1};
    default:
      return {.coarse = 2, .fine = 5};
  }
}

/// The best unconstrained pair found.
STEELYARD_HD AffineResult search_affine(const AffineValues& values, float high, AffineBudget budget);

}  // namespace steelyard::formats::inline STEELYARD_TARGET
