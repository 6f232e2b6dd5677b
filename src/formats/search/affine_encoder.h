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

namespace steelyard::formats::inline STEELYARD_TARGET {

/// What an affine format stores besides its codes.
struct AffineScales {
  static constexpr int kMaxSubBlocks = 16;
  Half d;
  Half d_min;
  uint8_t scale[kMaxSubBlocks];
  uint8_t minimum[kMaxSubBlocks];
};

/// Sums over a block with fixed integers and codes: values x against d * p - d_min * r.
struct SuperScaleSums {
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
struct SuperScaleBudget {
  int d_min_candidates;  ///< values of d_min judged, each with 16 of d; a divisor of 16
  int super_scales;      ///< pairs (d, d_min) under which the integers are searched
  int rounds;            ///< of least squares for (d, d_min), each with a new search of the integers
};

STEELYARD_HD constexpr SuperScaleBudget super_scale_budget(Effort effort) {
  switch (effort) {
    case Effort::kFast:
      return {.d_min_candidates = 4, .super_scales = 1, .rounds = 0};
    case Effort::kNormal:
      return {.d_min_candidates = 8, .super_scales = 2, .rounds = 1};
    default:
      return {.d_min_candidates = 16, .super_scales = 12, .rounds = 4};
  }
}

/// The search over one block, or over the first sub-blocks of one.
template <class F, int kSubBlocks = F::kSubBlocks>
class AffineSearch {
 public:
  STEELYARD_HD AffineSearch(const float* x, const float* w, Effort effort)
      : block_(x, w, kSubBlocks * kSubBlockLen), budget_(super_scale_budget(effort)) {
    for (int b = 0; b < kSubBlocks; ++b) {
      values_[b].set(block_.x + b * kSubBlockLen, block_.w + b * kSubBlockLen, kSubBlockLen);
      assign(unconstrained_[b], search_affine(values_[b], F::kHighCode, affine_budget(effort)));
    }
  }

  STEELYARD_HD AffineScales run() const {
    Candidates d, d_min;  // super_scales of each
    choose_super_scales(d, d_min);
    Common<Fit> best;
    best_fit(
        [&](int k) {
          return SuperScales{d[k], d_min[k]};
        },
        budget_.super_scales, budget_.rounds, [&](const SuperScales& of, Fit& fit) { fit_under(of, fit); },
        [&](const Fit& fit) { return improved(fit); }, *best);
    const SuperScales last = improved(*best);
    AffineScales scales = best->scales;
    scales.d = block_.store(last.d);
    scales.d_min = block_.store(last.d_min);
    return scales;
  }

  /// The best integers for given super-block scales.
  STEELYARD_HD AffineScales sub_scales_under(Half d, Half d_min) const {
    Common<Fit> fit;
    fit_under({block_.load(d), block_.load(d_min)}, *fit);
    return fit->scales;
  }

 private:
  static constexpr int kSubBlockLen = F::kBlockLen / F::kSubBlocks;
  struct SuperScales {
    float d;
    float d_min;
  };

  struct Fit {
    AffineScales scales;
    double error = 0.0;
    SuperScaleSums sums;
  };

  /// The most promising super-block scales: those under which the unconstrained pairs, rounded to integers, lose least.
  /// The largest scale or minimum becomes the largest integer, or a little less or more so that the others round
  /// better.
  STEELYARD_HD void choose_super_scales(Candidates& super_d, Candidates& super_d_min) const {
    AffineFit largest = {0.0f, 0.0f};
    for (const AffineResult& ideal : unconstrained_) {
      largest = {std::max(largest.scale, ideal.fit.scale), std::max(largest.min, ideal.fit.min)};
    }
    Candidates candidates;
    candidates.fill([&](int c) {
      return 1.0f /
             (static_cast<float>(F::kHighSubScale) * (F::kFirstFraction - F::kNextFraction * static_cast<float>(c)));
    });
    Common<float[kCandidates][kCandidates]> losses;
    Candidates least;
    least.fill([](int) { return FLT_MAX; });
    for (int k = 0; k < kCandidates; k += kCandidates / budget_.d_min_candidates) {
      super_scale_losses(largest.scale, candidates, largest.min * candidates[k], (*losses)[k]);
      least.set(k, least_of((*losses)[k]));
    }
    for (int n = 0; n < budget_.super_scales; ++n) {
      const int k = argmin(least);
      const int c = argmin(loaded((*losses)[k]));
      super_d.set(n, largest.scale * candidates[c]);
      super_d_min.set(n, largest.min * candidates[k]);
      assign((*losses)[k][c], FLT_MAX);
      least.set(k, least_of((*losses)[k]));
    }
  }

  STEELYARD_HD static Candidates loaded(const float (&losses)[kCandidates]) {
    Candidates all;
    for (int c = 0; c < kCandidates; c += kLanes) all.put(c, load(losses + c));
    return all;
  }
  STEELYARD_HD static float least_of(const float (&losses)[kCandidates]) { return losses[argmin(loaded(losses))]; }

  /// For d = largest * candidates[c] and this d_min, the summed losses of all sub-blocks.
  STEELYARD_HD void super_scale_losses(float largest, const Candidates& candidates, float d_min,
                                       float (&losses)[kCandidates]) const {
    const IntegerLevels levels = {0.0f, static_cast<float>(F::kHighSubScale)};
    const Floats inverse_min = inverse_or_zero(broadcast(d_min));
    for (int c = 0; c < kCandidates; c += kLanes) {
      const Floats d = largest * candidates.get(c);
      const Floats inverse = inverse_or_zero(d);
      Floats loss = {};
      for (int b = 0; b < kSubBlocks; ++b) {
        const AffineResult& ideal = unconstrained_[b];
        const Floats off = levels.nearest(ideal.fit.scale * inverse) * d - ideal.fit.scale;
        const Floats best_min = ideal.fit.min + slope(b) * off;
        const Floats min_off = levels.nearest(best_min * inverse_min) * d_min - ideal.fit.min;
        loss += off * (off * ideal.sums.qq - 2.0f * (min_off * ideal.sums.q1)) + min_off * min_off * values_[b].w1;
      }
      store(loss, losses + c);
    }
  }

  /// How the best minimum changes with the scale, for fixed codes.
  STEELYARD_HD float slope(int b) const {
    return values_[b].w1 > 0.0f ? unconstrained_[b].sums.q1 / values_[b].w1 : 0.0f;
  }

  /// The best integers under these super-block scales, as they are stored.
  STEELYARD_HD void fit_under(const SuperScales& super_scales, Fit& fit) const {
    const Half stored_d = block_.store(super_scales.d), stored_d_min = block_.store(super_scales.d_min);
    assign(fit.scales, AffineScales{stored_d, stored_d_min, {}, {}});
    const float d = block_.load(stored_d);
    const float d_min = block_.load(stored_d_min);
    double error = 0.0;
    SuperScaleSums sums;
    const Floats inverse = inverse_or_zero(broadcast(d));
    const Floats inverse_min = inverse_or_zero(broadcast(d_min));
    for (int b = 0; b < kSubBlocks; ++b) {
      AffineCandidates candidates;
      Candidates sub_scales, sub_mins;
      sub_scales_near(b, d, d_min, inverse, inverse_min, sub_scales, sub_mins, candidates);
      AffineResult found;
      const int best = best_affine(values_[b], F::kHighCode, candidates, found);
      const float sub_scale = sub_scales[best], sub_min = sub_mins[best];
      once([&] {
        fit.scales.scale[b] = static_cast<uint8_t>(sub_scale);
        fit.scales.minimum[b] = static_cast<uint8_t>(sub_min);
      });
      error += found.error;
      const double scale = sub_scale;
      const double minimum = sub_min;
      sums.pp += scale * scale * found.sums.qq;
      sums.pr += scale * minimum * found.sums.q1;
      sums.rr += minimum * minimum * values_[b].w1;
      sums.xp += scale * (found.sums.yq + static_cast<double>(values_[b].base) * found.sums.q1);
      sums.xr += minimum * (values_[b].y1 + static_cast<double>(values_[b].base) * values_[b].w1);
    }
    once([&] {
      fit.error = error;
      fit.sums = sums;
    });
  }

  /// Eight scales around the best unconstrained one, each with the nearest minima below and above its best one.
  STEELYARD_HD void sub_scales_near(int b, float d, float d_min, const Floats& inverse, const Floats& inverse_min,
                                    Candidates& sub_scales, Candidates& sub_mins, AffineCandidates& candidates) const {
    static constexpr float kOffsets[kCandidates] = {-3, -3, -2, -2, -1, -1, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4};
    static constexpr float kSides[kCandidates] = {0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1};
    const IntegerLevels levels = {0.0f, static_cast<float>(F::kHighSubScale)};
    const AffineFit& ideal = unconstrained_[b].fit;
    for (int c = 0; c < kCandidates; c += kLanes) {
      const Floats sub_scale = levels.nearest(levels.nearest(ideal.scale * inverse) + load(kOffsets + c));
      const Floats scale = sub_scale * d;
      const Floats min = (ideal.min + slope(b) * (scale - ideal.scale)) * inverse_min;
      const Floats sub_min = levels.nearest(levels.nearest(min - 0.5f) + load(kSides + c));
      sub_scales.put(c, sub_scale);
      sub_mins.put(c, sub_min);
      candidates.scales.put(c, scale);
      candidates.mins.put(c, sub_min * d_min);
    }
  }

  /// Least squares for the super-block scales, for fixed integers and codes.
  STEELYARD_HD SuperScales improved(const Fit& fit) const {
    SuperScales best = {block_.load(fit.scales.d), block_.load(fit.scales.d_min)};
    fit.sums.solve(best.d, best.d_min, [&](double d, double d_min) {
      const SuperScales stored = {block_.load(block_.store(static_cast<float>(std::max(d, 0.0)))),
                                  block_.load(block_.store(static_cast<float>(std::max(d_min, 0.0))))};
      if (fit.sums.error(stored.d, stored.d_min) < fit.sums.error(best.d, best.d_min)) best = stored;
    });
    return best;
  }

  NormalizedBlock block_;
  SuperScaleBudget budget_;
  AffineValues values_[kSubBlocks];
  AffineResult unconstrained_[kSubBlocks];
};

/// Base of a traits struct F, which has kBlockLen, kScaleLen, kMaxCode, kHighSubScale (the largest integer), and
/// kFirstFraction and kNextFraction (what the largest scale is tried at, as part of kHighSubScale).
template <class F>
struct AffineEncoder {
  static constexpr int kVectorDim = 1;
  static constexpr int kSubBlocks = F::kBlockLen / F::kScaleLen;
  static constexpr int kHighCode = F::kMaxCode;
  using Scales = AffineScales;
  template <class Format>
  using SearchOf = AffineSearch<Format>;

  STEELYARD_HD static Scales fit(const float* x, const float* w, Effort effort, uint32_t* codes) {
    Common<Scales> scales;
    {
      Common<AffineSearch<F>> search(x, w, effort);
      assign(*scales, search->run());
    }
    constexpr int kLen = F::kBlockLen / F::kSubBlocks;
    for (int b = 0; b < F::kSubBlocks; ++b) {
      round_values(x + b * kLen, kLen, scale_of(*scales, b), min_of(*scales, b), 0, F::kHighCode, codes + b * kLen);
    }
    return *scales;
  }

  STEELYARD_HD static uint32_t round(const float* x, const float*, const Scales& scales, int position, float* values) {
    const int b = position / (F::kBlockLen / F::kSubBlocks);
    return round_under(*x, scale_of(scales, b), min_of(scales, b), values);
  }

  STEELYARD_HD static void rescale(const float* x, const float* w, int position, Effort effort, Scales& scales) {
    constexpr int kLen = F::kBlockLen / F::kSubBlocks;
    const int b = position / kLen;
    Common<AffineSearch<F, 1>> search(x, w, effort);
    const Scales own = search->sub_scales_under(scales.d, scales.d_min);
    const float d = to_float(scales.d), d_min = to_float(scales.d_min);
    // The search looks around an unconstrained pair. The scales of a block that was fitted to other values may be far
    // from it.
    const auto error = [&](int sub_scale, int minimum) {
      float sum = 0.0f;
      for (int i = 0; i < kLen; ++i) {
        float value;
        round_under(x[i], d * static_cast<float>(sub_scale), d_min * static_cast<float>(minimum), &value);
        sum += w[i] * (x[i] - value) * (x[i] - value);
      }
      return sum;
    };
    if (!(error(own.scale[0], own.minimum[0]) < error(scales.scale[b], scales.minimum[b]))) return;
    once([&] {
      scales.scale[b] = own.scale[0];
      scales.minimum[b] = own.minimum[0];
    });
  }

  STEELYARD_HD static void refit(const float* x, const float* w, const uint32_t* codes, Scales& scales) {
    SuperScaleSums sums;
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
  STEELYARD_HD static uint32_t round_under(float x, float scale, float min, float* value) {
    const int q = scale == 0.0f ? 0 : nearest_down((x + min) / scale, 0, F::kHighCode);
    *value = scale * static_cast<float>(q) - min;
    return static_cast<uint32_t>(q);
  }
  STEELYARD_HD static float scale_of(const Scales& scales, int b) {
    return to_float(scales.d) * static_cast<float>(scales.scale[b]);
  }
  STEELYARD_HD static float min_of(const Scales& scales, int b) {
    return to_float(scales.d_min) * static_cast<float>(scales.minimum[b]);
  }
};

}  // namespace steelyard::formats::inline STEELYARD_TARGET
