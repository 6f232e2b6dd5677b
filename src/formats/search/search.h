// What the encoders share: the objective, blocks that are scaled to about 1, and the parts of searches for scales.
//
// Candidate scales lie in the SIMD lanes and the values of a block are summed in order within a lane, so every
// instruction set gives the same bytes. Ties go to the first candidate.
#pragma once

#include <algorithm>
#include <bit>
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "base/half.h"
#include "formats/encoder.h"
#include "formats/verbs.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

/// The half nearest to `value`, or the largest finite one of its sign, because an infinite scale would spoil a whole
/// block.
STEELYARD_HD inline Half finite_half(float value) {
  constexpr float kMax = 65504.0f;
  return to_half(std::clamp(value, -kMax, kMax));
}

/// w[i] = importance[i] * (2 mean(x^2) + x[i]^2)^(1/4): importance weighs columns, the root protects large weights.
/// With the exponents 0 (importance alone) and 1/2 (llama.cpp's rule for its i-quants) a model diverges more from its
/// source (docs/results/objective.md). Unknown and all-zero importance counts as equal. kWeightFloor of the block's
/// mean importance is added to each. The common scale of w is arbitrary.
STEELYARD_HD void importance_objective(const float* x, const float* importance, int n, float* w);

/// x and w of a block, scaled to about 1 by powers of two, so that no product of a search overflows whatever the input.
/// Values without weight become zero: they must not decide a scale. n is a multiple of 16.
struct NormalizedBlock {
  STEELYARD_HD NormalizedBlock(const float* block_x, const float* block_w, int n);

  /// Converts scales of the normalized block to scales in the file, and back.
  STEELYARD_HD Half store(float d) const;
  STEELYARD_HD float load(Half d) const;

  alignas(64) float x[kMaxBlockLen];
  alignas(64) float w[kMaxBlockLen];
  double power;  ///< of two: block_x = x * power
};

/// Sums over weighted values x[i] and their levels q[i]. As a function of the scale s the error is const - 2 s xq + s^2
/// qq.
struct ScaleSums {
  double xq = 0.0;
  double qq = 0.0;

  STEELYARD_HD void add(double x, double w, double q) {
    xq += w * x * q;
    qq += w * q * q;
  }
  STEELYARD_HD double error(double scale) const { return scale * (scale * qq - 2.0 * xq); }
  STEELYARD_HD double best_scale() const { return qq > 0.0 ? xq / qq : 0.0; }
};

/// The better of `d` and the least-squares scale of `sums`.
STEELYARD_HD Half refit_scale(const ScaleSums& sums, Half d);

/// Codes that are consecutive integers.
struct IntegerLevels {
  float low, high;

  /// The level nearest to t.
  STEELYARD_HD Floats nearest(const Floats& t) const { return nearest_integer(clamp(t, low, high)); }
};

/// The nearest integer within [low, high]; a half goes down.
STEELYARD_HD inline int nearest_down(float t, int low, int high) {
  return static_cast<int>(std::ceil(std::clamp(t, static_cast<float>(low), static_cast<float>(high)) - 0.5f));
}

/// codes[i] = nearest_down((x[i] + minimum) / scale, low, high) - low, or -low for a scale of 0; n is a multiple of 16.
STEELYARD_HD void round_values(const float* x, int n, float scale, float minimum, int low, int high, uint32_t* codes);

/// 1 / scale, or 0 for a scale too small to divide by: all values then fall on level 0.
STEELYARD_HD inline Floats inverse_or_zero(const Floats& scale) {
  const Ints below = scale<broadcast(FLT_MIN), above = scale> broadcast(-FLT_MIN);
  return (below & above) ? Floats{} : 1.0f / scale;
}

/// Number of candidates that a search tries at once.
inline constexpr int kCandidates = 16;

/// Sums values in a fixed order, the same for every instruction set: lane by lane of kMaxLanes, then by halves.
class LaneSum {
 public:
  /// Adds values i .. i + kLanes - 1 of a sequence.
  STEELYARD_HD void add(int i, const Floats& values) { parts_[i / kLanes % kParts] += values; }

  STEELYARD_HD float total() const {
    Floats sums[kParts];
    for (int p = 0; p < kParts; ++p) sums[p] = parts_[p];  // not std::copy_n, which nvcc makes nothing of
    for (int n = kParts / 2; n > 0; n /= 2) {
      for (int p = 0; p < n; ++p) sums[p] += sums[p + n];
    }
    return fold_lanes(sums[0], [](const Floats& a, const Floats& b) { return a + b; });
  }

 private:
  static constexpr int kParts = kMaxLanes / kLanes;
  Floats parts_[kParts] = {};
};

/// A number for each.
using Candidates = LaneArray<kCandidates>;

/// The first among the smallest; none may be NaN.
template <int n>
STEELYARD_HD int argmin(const LaneArray<n>& values) {
  Floats folded = values.get(0);
  for (int c = kLanes; c < n; c += kLanes) folded = min(folded, values.get(c));
  const Floats smallest = broadcast(least(folded));
  for (int c = 0; c < n; c += kLanes) {
    const uint32_t bits = lane_bits(values.get(c) == smallest);
    if (bits != 0) return c + first_lane(bits);
  }
  return 0;
}

/// Error of every candidate scale, each value on its nearest level.
template <class Levels>
STEELYARD_HD void scale_errors(const Levels& levels, const float* x, const float* w, int n, const Candidates& scales,
                               Candidates& errors) {
  for (int c = 0; c < kCandidates; c += kLanes) {
    const Floats scale = scales.get(c);
    const Floats inverse = inverse_or_zero(scale);
    Floats error = {};
    for (int i = 0; i < n; ++i) {
      const Floats difference = x[i] - scale * levels.nearest(x[i] * inverse);
      error += w[i] * (difference * difference);
    }
    errors.put(c, error);
  }
}

/// Rounds all values under each candidate scale and computes the least-squares scale for the codes. Keeps the best if
/// it lowers the error (against all zeros) by more than `gain`.
template <class Levels>
STEELYARD_HD void improve_scale(const Levels& levels, const float* x, const float* w, int n, const Candidates& scales,
                                float& best, float& gain) {
  Candidates bests, losses;
  for (int c = 0; c < kCandidates; c += kLanes) {
    const Floats inverse = inverse_or_zero(scales.get(c));
    Floats xq = {};
    Floats qq = {};
    for (int i = 0; i < n; ++i) {
      const Floats q = levels.nearest(x[i] * inverse);
      const Floats wq = w[i] * q;
      xq += wq * x[i];
      qq += wq * q;
    }
    const Floats scale = qq > Floats{} ? xq / qq : Floats{};
    bests.put(c, scale);
    losses.put(c, -(scale * xq));
  }
  const int c = argmin(losses);
  const float most = -losses[c];
  if (most > gain) {
    gain = most;
    best = bests[c];
  }
}

/// The best of what a search finds under unit(0) .. unit(n - 1), then `rounds` times at most under what least squares
/// makes of the unit of the best, as long as that is better. under(unit, fit) makes a Fit, which has its `error`;
/// improved(fit) gives a unit. The Fit is in memory that all lanes see.
template <class Fit, class Unit, class Under, class Improved>
STEELYARD_HD void best_fit(const Unit& unit, int n, int rounds, const Under& under, const Improved& improved,
                           Fit& best) {
  under(unit(0), best);
  Common<Fit> other;
  const auto is_better = [&](const auto& next) {
    under(next, *other);
    if (other->error >= best.error) return false;
    assign(best, *other);
    return true;
  };
  for (int k = 1; k < n; ++k) is_better(unit(k));
  for (int k = 0; k < rounds && is_better(improved(best)); ++k) {
  }
}

/// value = scale * q - min with q in 0 .. high and min >= 0.
struct AffineFit {
  float scale;
  float min;
};

/// The pair of least weighted error for n <= 32 values up to 1 in magnitude.
STEELYARD_HD AffineFit search_affine(float high, const float* x, const float* w, int n,
                                     Effort effort = Effort::kNormal);

}  // namespace steelyard::formats::inline STEELYARD_TARGET
