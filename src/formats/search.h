// What the encoders of formats with one code per value share: the objective, and the search for scales.
//
// Candidate scales lie in the SIMD lanes and the values of a block are summed in order within a lane, so every
// instruction set gives the same bytes. Ties go to the first candidate.
#pragma once

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <initializer_list>

#include "base/half.h"
#include "formats/encoder.h"
#include "formats/lanes.h"

namespace steelyard {

/// The half nearest to `value`, or the largest finite one of its sign: an infinite scale would spoil a whole block.
Half finite_half(float value);

/// w[i] = importance[i] * sqrt(sigma2 + x[i]^2), where sigma2 = 2 * mean(x^2): importance weighs columns, the root
/// protects large weights. A model so encoded has a lower KL divergence than with importance alone. The rule is
/// llama.cpp's for its i-quants. Unknown or all-zero importance counts as equal; columns of almost no importance keep a
/// trace of it, so that a block is never without an objective. The common scale of w is arbitrary.
void importance_objective(const float* x, const float* importance, int n, float* w);

/// x and w of a block brought near 1 by powers of two, so that no product of a search overflows whatever the input.
/// Values without weight become zero: they must not decide a scale.
struct UnitBlock {
  UnitBlock(const float* block_x, const float* block_w, int n);

  /// Scales of the unit block against scales in the file.
  Half store(float d) const;
  float load(Half d) const;

  alignas(64) float x[kMaxBlockLen];
  alignas(64) float w[kMaxBlockLen];
  double power;  ///< of two: block_x = x * power
};

/// Sums over weighted values x[i] and the levels q[i] chosen for them: as a function of the scale s the error is
/// const - 2 s xq + s^2 qq.
struct ScaleSums {
  double xq = 0.0;
  double qq = 0.0;

  void add(double x, double w, double q) {
    xq += w * x * q;
    qq += w * q * q;
  }
  double error(double scale) const { return scale * (scale * qq - 2.0 * xq); }
  double best_scale() const { return qq > 0.0 ? xq / qq : 0.0; }
};

/// The better of `d` and the least-squares scale of `sums`.
Half refit_scale(const ScaleSums& sums, Half d);

/// Codes that are consecutive integers.
struct IntegerLevels {
  float low, high;

  /// The level nearest to t. Adding a large constant leaves no room for a fraction, which rounds.
  Lanes nearest(const Lanes& t) const {
    const Lanes rounder = broadcast(0x1.8p23f);
    const Lanes below = t < broadcast(high) ? t : broadcast(high);
    const Lanes inside = below > broadcast(low) ? below : broadcast(low);
    return (inside + rounder) - rounder;
  }
};

/// The nearest integer within [low, high]; a half goes down.
inline int nearest_down(float t, int low, int high) {
  return static_cast<int>(std::ceil(std::clamp(t, static_cast<float>(low), static_cast<float>(high)) - 0.5f));
}

/// 1 / scale, or 0 for a scale too small to divide by: all values then fall on level 0.
inline Lanes inverse_or_zero(const Lanes& scale) {
  const auto too_small = (scale < broadcast(FLT_MIN)) & (scale > broadcast(-FLT_MIN));
  return too_small ? Lanes{} : 1.0f / scale;
}

/// Number of candidates that a search tries at once.
inline constexpr int kCandidates = 16;

/// Error of every candidate scale, each value on its nearest level.
template <class Levels>
void scale_errors(const Levels& levels, const float* x, const float* w, int n, const float (&scales)[kCandidates],
                  float (&errors)[kCandidates]) {
  for (int c = 0; c < kCandidates; c += kLanes) {
    const Lanes scale = load(scales + c);
    const Lanes inverse = inverse_or_zero(scale);
    Lanes error = {};
    for (int i = 0; i < n; ++i) {
      const Lanes difference = x[i] - scale * levels.nearest(x[i] * inverse);
      error += w[i] * (difference * difference);
    }
    store(error, errors + c);
  }
}

/// Rounds all values under each candidate scale and keeps what least squares makes of the codes, if that lowers the
/// error (against all zeros) by more than `gain`.
template <class Levels>
void improve_scale(const Levels& levels, const float* x, const float* w, int n, const float (&scales)[kCandidates],
                   float& best, float& gain) {
  for (int c = 0; c < kCandidates; c += kLanes) {
    const Lanes inverse = inverse_or_zero(load(scales + c));
    Lanes xq = {};
    Lanes qq = {};
    for (int i = 0; i < n; ++i) {
      const Lanes q = levels.nearest(x[i] * inverse);
      const Lanes wq = w[i] * q;
      xq += wq * x[i];
      qq += wq * q;
    }
    for (int l = 0; l < kLanes; ++l) {
      if (xq[l] * xq[l] > gain * qq[l]) {
        gain = xq[l] * xq[l] / qq[l];
        best = xq[l] / qq[l];
      }
    }
  }
}

/// The scale of least weighted error for values up to 1 in magnitude; `edge` is the level that the largest value meets
/// in a plain encoding (its sign matters where levels are not symmetric).
template <class Levels>
float search_scale(const Levels& levels, const float* x, const float* w, int n, std::initializer_list<float> edges) {
  float max = 0.0f;
  for (int i = 0; i < n; ++i) max = std::max(max, std::fabs(x[i]));
  float best = 0.0f;
  float gain = 0.0f;
  float scales[kCandidates];
  // The whole range that can pay: from a little more than the plain scale down to where a lone outlier is given up.
  for (const float edge : edges) {
    for (int c = 0; c < kCandidates; ++c) scales[c] = max / edge * (1.10f - 0.03f * static_cast<float>(c));
    improve_scale(levels, x, w, n, scales, best, gain);
    for (int c = 0; c < kCandidates; ++c) scales[c] = max / edge * (0.62f - 0.04f * static_cast<float>(c));
    improve_scale(levels, x, w, n, scales, best, gain);
  }
  // Then the neighbourhood of the best so far.
  const float centre = best;
  for (int c = 0; c < kCandidates; ++c) scales[c] = centre * (1.0f + 0.002f * static_cast<float>(c - kCandidates / 2));
  improve_scale(levels, x, w, n, scales, best, gain);
  return best;
}

/// value = scale * q - min with q in 0 .. high and min >= 0.
struct AffineFit {
  float scale;
  float min;
};

/// Error of every candidate pair, each value on its nearest level, up to a constant of the block.
void affine_errors(float high, const float* x, const float* w, int n, const float (&scales)[kCandidates],
                   const float (&mins)[kCandidates], float (&errors)[kCandidates]);

/// The pair of least weighted error for values up to 1 in magnitude.
AffineFit search_affine(float high, const float* x, const float* w, int n);

}  // namespace steelyard
