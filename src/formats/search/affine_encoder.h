// The encoder steps that Q2_K, Q4_K and Q5_K share: value = (d * scale) * code - (d_min * minimum), where scale and
// minimum are small integers per sub-block, and d and d_min are halves per block (the super-block scales). A format
// adds only its numbers, and pack.
//
// First every sub-block finds its best unconstrained pair. Around that pair its error is a quadratic form, so many (d,
// d_min) can be judged at little cost. Under the most promising of them every sub-block takes its best integers, with
// the values rounded under each pair as it is stored. Least squares then improves d and d_min for these codes.
#pragma once

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstdint>

#include "base/half.h"
#include "formats/search/affine_search.h"
#include "formats/search/search.h"

namespace steelyard::inline STEELYARD_TARGET {

/// What an affine format stores besides its codes.
struct AffineScales {
  static constexpr int kMaxSubBlocks = 16;
  Half d;
  Half d_min;
  uint8_t scale[kMaxSubBlocks];
  uint8_t minimum[kMaxSubBlocks];
};

/// Sums over a block with fixed integers and codes: values x against d * p - d_min * r.
struct UnitSums {
  double pp = 0.0, pr = 0.0, rr = 0.0, xp = 0.0, xr = 0.0;

  STEELYARD_HD double error(double d, double d_min) const {
    return d * (d * pp - 2.0 * xp) + d_min * (d_min * rr + 2.0 * (xr - d * pr));
  }

  /// Calls consider(d, d_min) with the least-squares solution for both, then for each alone.
  template <class Consider>
  STEELYARD_HD void solve(double d, double d_min, const Consider& consider) const {
    const double determinant = pp * rr - pr * pr;
    if (determinant > 0.0) consider((xp * rr - pr * xr) / determinant, (pr * xp - pp * xr) / determinant);
    if (pp > 0.0) consider((xp + d_min * pr) / pp, d_min);
    if (rr > 0.0) consider(d, (d * pr - xr) / rr);
  }
};

/// How far the search goes at each level of effort, once the free pairs are known.
struct UnitReach {
  int minimum_units;  ///< values of d_min judged, each with 16 of d; a divisor of 16
  int units;          ///< pairs (d, d_min) under which the integers are searched
  int rounds;         ///< of least squares for (d, d_min), each with a new search of the integers
};

STEELYARD_HD constexpr UnitReach unit_reach(Effort effort) {
  switch (effort) {
    case Effort::kFast:
      return {.minimum_units = 4, .units = 1, .rounds = 0};
    case Effort::kNormal:
      return {.minimum_units = 8, .units = 2, .rounds = 1};
    default:
      return {.minimum_units = 16, .units = 12, .rounds = 4};
  }
}

/// The search over one block, or over the first sub-blocks of one.
template <class F, int kSubBlocks = F::kSubBlocks>
class AffineSearch {
 public:
  STEELYARD_HD AffineSearch(const float* x, const float* w, Effort effort)
      : block_(x, w, kSubBlocks * kSubBlockLen), reach_(unit_reach(effort)) {
    for (int b = 0; b < kSubBlocks; ++b) {
      values_[b] = AffineValues(block_.x + b * kSubBlockLen, block_.w + b * kSubBlockLen, kSubBlockLen);
      wanted_[b] = search_affine(values_[b], F::kHighCode, affine_reach(effort));
    }
  }

  STEELYARD_HD AffineScales run() const {
    Units units[kMaxUnits];
    choose_units(units);
    Fit best = best_fit<Fit>(
        units, reach_.units, reach_.rounds, [&](const Units& of) { return under(of); },
        [&](const Fit& fit) { return improved(fit); });
    const Units last = improved(best);
    best.scales.d = block_.store(last.d);
    best.scales.d_min = block_.store(last.d_min);
    return best.scales;
  }

  /// The best integers for given super-block scales.
  STEELYARD_HD AffineScales integers_under(Half d, Half d_min) const {
    return under({block_.load(d), block_.load(d_min)}).scales;
  }

 private:
  static constexpr int kSubBlockLen = F::kBlockLen / F::kSubBlocks;
  static constexpr int kMaxUnits = 16;

  struct Units {
    float d;
    float d_min;
  };

  struct Fit {
    AffineScales scales;
    double error = 0.0;
    UnitSums sums;
  };

  /// The most promising super-block scales: those under which the unconstrained pairs, rounded to integers, lose least.
  /// The largest scale or minimum becomes the largest integer, or a little less or more so that the others round
  /// better.
  STEELYARD_HD void choose_units(Units* units) const {
    AffineFit largest = {0.0f, 0.0f};
    for (const AffineResult& wanted : wanted_) {
      largest = {std::max(largest.scale, wanted.fit.scale), std::max(largest.min, wanted.fit.min)};
    }
    float candidates[kCandidates];
    for (int c = 0; c < kCandidates; ++c) {
      candidates[c] =
          1.0f / (static_cast<float>(F::kHighStep) * (F::kFirstUnit - F::kNextUnit * static_cast<float>(c)));
    }
    float losses[kCandidates][kCandidates];
    float least[kCandidates];
    for (float& loss : least) loss = FLT_MAX;
    for (int k = 0; k < kCandidates; k += kCandidates / reach_.minimum_units) {
      unit_losses(largest.scale, candidates, largest.min * candidates[k], losses[k]);
      least[k] = losses[k][first_least(losses[k])];
    }
    for (int n = 0; n < reach_.units; ++n) {
      const int k = first_least(least);
      const int c = first_least(losses[k]);
      units[n] = {largest.scale * candidates[c], largest.min * candidates[k]};
      losses[k][c] = FLT_MAX;
      least[k] = losses[k][first_least(losses[k])];
    }
  }

  /// For d = largest * candidates[c] and this d_min, the summed losses of all sub-blocks.
  STEELYARD_HD void unit_losses(float largest, const float (&candidates)[kCandidates], float d_min,
                                float (&losses)[kCandidates]) const {
    const IntegerLevels steps = {0.0f, static_cast<float>(F::kHighStep)};
    const Floats inverse_min = inverse_or_zero(broadcast(d_min));
    for (int c = 0; c < kCandidates; c += kLanes) {
      const Floats d = largest * load(candidates + c);
      const Floats inverse = inverse_or_zero(d);
      Floats loss = {};
      for (int b = 0; b < kSubBlocks; ++b) {
        const AffineResult& wanted = wanted_[b];
        const Floats off = steps.nearest(wanted.fit.scale * inverse) * d - wanted.fit.scale;
        const Floats best_min = wanted.fit.min + slope(b) * off;
        const Floats min_off = steps.nearest(best_min * inverse_min) * d_min - wanted.fit.min;
        loss += off * (off * wanted.sums.qq - 2.0f * (min_off * wanted.sums.q1)) + min_off * min_off * values_[b].w1;
      }
      store(loss, losses + c);
    }
  }

  /// How the best minimum changes with the scale, for fixed codes.
  STEELYARD_HD float slope(int b) const { return values_[b].w1 > 0.0f ? wanted_[b].sums.q1 / values_[b].w1 : 0.0f; }

  /// The best integers under these super-block scales, as they are stored.
  STEELYARD_HD Fit under(const Units& units) const {
    Fit fit;
    fit.scales = {block_.store(units.d), block_.store(units.d_min), {}, {}};
    const float d = block_.load(fit.scales.d);
    const float d_min = block_.load(fit.scales.d_min);
    const Floats inverse = inverse_or_zero(broadcast(d));
    const Floats inverse_min = inverse_or_zero(broadcast(d_min));
    for (int b = 0; b < kSubBlocks; ++b) {
      AffineCandidates candidates;
      float scale_steps[kCandidates];
      float min_steps[kCandidates];
      integers_near(b, d, d_min, inverse, inverse_min, scale_steps, min_steps, candidates);
      AffineResult found;
      const int best = best_affine(values_[b], F::kHighCode, candidates, found);
      fit.scales.scale[b] = static_cast<uint8_t>(scale_steps[best]);
      fit.scales.minimum[b] = static_cast<uint8_t>(min_steps[best]);
      fit.error += found.error;
      const double scale = scale_steps[best];
      const double minimum = min_steps[best];
      fit.sums.pp += scale * scale * found.sums.qq;
      fit.sums.pr += scale * minimum * found.sums.q1;
      fit.sums.rr += minimum * minimum * values_[b].w1;
      fit.sums.xp += scale * (found.sums.yq + static_cast<double>(values_[b].base) * found.sums.q1);
      fit.sums.xr += minimum * (values_[b].y1 + static_cast<double>(values_[b].base) * values_[b].w1);
    }
    return fit;
  }

  /// Eight scales around the best unconstrained one, each with the nearest minima below and above its best one.
  STEELYARD_HD void integers_near(int b, float d, float d_min, const Floats& inverse, const Floats& inverse_min,
                                  float* scale_steps, float* min_steps, AffineCandidates& candidates) const {
    static constexpr float kSteps[kCandidates] = {-3, -3, -2, -2, -1, -1, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4};
    static constexpr float kSides[kCandidates] = {0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1};
    const IntegerLevels steps = {0.0f, static_cast<float>(F::kHighStep)};
    const AffineFit& wanted = wanted_[b].fit;
    for (int c = 0; c < kCandidates; c += kLanes) {
      const Floats scale_step = steps.nearest(steps.nearest(wanted.scale * inverse) + load(kSteps + c));
      const Floats scale = scale_step * d;
      const Floats min = (wanted.min + slope(b) * (scale - wanted.scale)) * inverse_min;
      const Floats min_step = steps.nearest(steps.nearest(min - 0.5f) + load(kSides + c));
      store(scale_step, scale_steps + c);
      store(min_step, min_steps + c);
      store(scale, candidates.scales + c);
      store(min_step * d_min, candidates.mins + c);
    }
  }

  /// Least squares for the super-block scales, for fixed integers and codes.
  STEELYARD_HD Units improved(const Fit& fit) const {
    Units best = {block_.load(fit.scales.d), block_.load(fit.scales.d_min)};
    fit.sums.solve(best.d, best.d_min, [&](double d, double d_min) {
      const Units stored = {block_.load(block_.store(static_cast<float>(std::max(d, 0.0)))),
                            block_.load(block_.store(static_cast<float>(std::max(d_min, 0.0))))};
      if (fit.sums.error(stored.d, stored.d_min) < fit.sums.error(best.d, best.d_min)) best = stored;
    });
    return best;
  }

  UnitBlock block_;
  UnitReach reach_;
  AffineValues values_[kSubBlocks];
  AffineResult wanted_[kSubBlocks];
};

/// Base of a traits struct F, which has kBlockLen, kScaleLen, kMaxCode, kHighStep (the largest integer), and kFirstUnit
/// and kNextUnit (what the largest scale is tried at, as part of kHighStep).
template <class F>
struct AffineEncoder {
  static constexpr int kJoint = 1;
  static constexpr int kSubBlocks = F::kBlockLen / F::kScaleLen;
  static constexpr int kHighCode = F::kMaxCode;
  using Scales = AffineScales;

  STEELYARD_HD static Scales fit(const float* x, const float* w, Effort effort, uint32_t* codes) {
    const Scales scales = AffineSearch<F>(x, w, effort).run();
    constexpr int kLen = F::kBlockLen / F::kSubBlocks;
    for (int b = 0; b < F::kSubBlocks; ++b) {
      round_values(x + b * kLen, kLen, scale_of(scales, b), min_of(scales, b), 0, F::kHighCode, codes + b * kLen);
    }
    return scales;
  }

  STEELYARD_HD static uint32_t round(const float* x, const float*, const Scales& scales, int position, float* values) {
    const int b = position / (F::kBlockLen / F::kSubBlocks);
    const float scale = scale_of(scales, b);
    const float min = min_of(scales, b);
    const int q = scale == 0.0f ? 0 : nearest_down((*x + min) / scale, 0, F::kHighCode);
    *values = scale * static_cast<float>(q) - min;
    return static_cast<uint32_t>(q);
  }

  STEELYARD_HD static void rescale(const float* x, const float* w, int position, Effort effort, Scales& scales) {
    constexpr int kLen = F::kBlockLen / F::kSubBlocks;
    const int b = position / kLen;
    const Scales own = AffineSearch<F, 1>(x, w, effort).integers_under(scales.d, scales.d_min);
    Scales changed = scales;
    changed.scale[b] = own.scale[0];
    changed.minimum[b] = own.minimum[0];
    // The search looks around an unconstrained pair. The scales of a block that was fitted to other values may be far
    // from it.
    const auto error = [&](const Scales& tried) {
      float sum = 0.0f;
      for (int i = 0; i < kLen; ++i) {
        float value;
        round(x + i, w + i, tried, position, &value);
        sum += w[i] * (x[i] - value) * (x[i] - value);
      }
      return sum;
    };
    if (error(changed) < error(scales)) scales = changed;
  }

  STEELYARD_HD static void refit(const float* x, const float* w, const uint32_t* codes, Scales& scales) {
    UnitSums sums;
    for (int i = 0; i < F::kBlockLen; ++i) {
      const int b = i / (F::kBlockLen / F::kSubBlocks);
      const double p = scales.scale[b] * static_cast<double>(codes[i]);
      const double r = scales.minimum[b];
      sums.pp += w[i] * p * p;
      sums.pr += w[i] * p * r;
      sums.rr += w[i] * r * r;
      sums.xp += static_cast<double>(w[i]) * x[i] * p;
      sums.xr += static_cast<double>(w[i]) * x[i] * r;
    }
    const auto half = [](double value) { return finite_half(static_cast<float>(std::clamp(value, 0.0, 65504.0))); };
    const auto error = [&](Half d, Half d_min) { return sums.error(to_float(d), to_float(d_min)); };
    sums.solve(to_float(scales.d), to_float(scales.d_min), [&](double d, double d_min) {
      if (error(half(d), half(d_min)) >= error(scales.d, scales.d_min)) return;
      scales.d = half(d);
      scales.d_min = half(d_min);
    });
  }

 private:
  STEELYARD_HD static float scale_of(const Scales& scales, int b) {
    return to_float(scales.d) * static_cast<float>(scales.scale[b]);
  }
  STEELYARD_HD static float min_of(const Scales& scales, int b) {
    return to_float(scales.d_min) * static_cast<float>(scales.minimum[b]);
  }
};

}  // namespace steelyard::inline STEELYARD_TARGET
