// The encoder steps that Q3_K and Q6_K share: value = (d * scale) * q, where scale and q are signed integers, one scale
// per sub-block, and d is a half per block (the super-block scale). A format adds only its numbers, and pack.
//
// As in affine_encoder.h: every sub-block finds its best unconstrained scale. Around it the error is a parabola, so
// many d can be judged at little cost. Under the most promising of them every sub-block takes its best integer scale,
// with the values rounded under each as it is stored. Least squares then improves d for these codes.
#pragma once

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstdint>

#include "base/half.h"
#include "formats/search/search.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

/// What a symmetric format stores besides its codes.
struct SymmetricScales {
  Half d;
  int8_t scale[16];
};

/// A scale, and how much its error is below that of all zeros.
struct ScaleFit {
  float scale;
  float gain;
};

/// How far the search goes at each level of effort.
struct SymmetricBudget {
  int coarse;        ///< passes over scales under which the largest value meets the last level, or about
  int fine;          ///< passes around the best so far
  int super_scales;  ///< values of d under which the scales are searched
  int rounds;        ///< of least squares for d, each with a new search of the scales
};

STEELYARD_HD constexpr SymmetricBudget symmetric_budget(Effort effort) {
  switch (effort) {
    case Effort::kFast:
      return {.coarse = 1, .fine = 0, .super_scales = 1, .rounds = 0};
    case Effort::kNormal:
      return {.coarse = 2, .fine = 1, .super_scales = 1, .rounds = 1};
    default:
      return {.coarse = 8, .fine = 3, .super_scales = 8, .rounds = 4};
  }
}

/// The search over one block, or over the first sub-blocks of one.
template <class F, int kSubBlocks = F::kSubBlocks>
class SymmetricSearch {
 public:
  STEELYARD_HD SymmetricSearch(const float* x, const float* w, Effort effort)
      : block_(x, w, kSubBlocks * kSubBlockLen), budget_(symmetric_budget(effort)) {
    for (int b = 0; b < kSubBlocks; ++b) assign(unconstrained_[b], unconstrained_scale(b));
  }

  STEELYARD_HD SymmetricScales run() const {
    Candidates super_scales;
    choose_super_scales(super_scales);
    Common<Fit> best;
    best_fit([&](int k) { return super_scales[k]; }, budget_.super_scales, budget_.rounds,
             [&](float super_scale, Fit& fit) { fit_under(super_scale, fit); },
             [&](const Fit& fit) { return improved(fit); }, *best);
    SymmetricScales scales = best->scales;
    scales.d = block_.store(improved(*best));
    return scales;
  }

  /// The best integer scales for a given d; `present` is among those tried.
  STEELYARD_HD SymmetricScales sub_scales_under(Half d, int8_t present) const {
    Common<Fit> fit;
    fit_under(block_.load(d), *fit, &present);
    return fit->scales;
  }

 private:
  static constexpr int kSubBlockLen = F::kBlockLen / F::kSubBlocks;
  static constexpr int kTriedSuperScales = 2 * kCandidates;
  STEELYARD_HD static constexpr IntegerLevels levels() { return {F::kLowCode, F::kHighCode}; }
  STEELYARD_HD static constexpr IntegerLevels sub_scale_levels() { return {F::kLowSubScale, F::kHighSubScale}; }

  struct Fit {
    SymmetricScales scales;
    double error = 0.0;
    ScaleSums sums;
  };

  /// The scale of least error for a sub-block.
  STEELYARD_HD ScaleFit unconstrained_scale(int b) const {
    const float* const x = block_.x + b * kSubBlockLen;
    const float* const w = block_.w + b * kSubBlockLen;
    Floats sizes = {};
    for (int i = 0; i < kSubBlockLen; i += kLanes) sizes = max(sizes, max(load(x + i), -load(x + i)));
    const float largest = -least(-sizes);
    // Eight levels that the largest value may take, under either sign of the scale: there is one more level below than
    // above.
    static constexpr float kSigns[kCandidates] = {1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1, -1};
    static constexpr float kNumbers[kCandidates] = {0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7};
    ScaleFit best = {0.0f, 0.0f};
    Candidates scales;
    for (int pass = 0; pass < budget_.coarse; ++pass) {
      const float first =
          F::kFirstLevel + F::kNextLevel * static_cast<float>(pass) / static_cast<float>(budget_.coarse);
      for (int c = 0; c < kCandidates; c += kLanes) {
        scales.put(c, largest / (load(kSigns + c) * (first + F::kNextLevel * load(kNumbers + c))));
      }
      improve_scale(levels(), x, w, kSubBlockLen, scales, best.scale, best.gain);
    }
    // Then closer and closer around the best so far. The step moves the lowest level by a tenth, then by less.
    float step = 0.1f / static_cast<float>(-F::kLowCode);
    for (int pass = 0; pass < budget_.fine; ++pass, step *= 0.4f) {
      const float centre = best.scale;
      scales.fill([&](int c) { return centre * (1.0f + step * (static_cast<float>(c) - 7.5f)); });
      improve_scale(levels(), x, w, kSubBlockLen, scales, best.scale, best.gain);
    }
    return best;
  }

  /// The values of d under which the unconstrained scales, rounded to integers, lose least. The largest scale becomes
  /// the lowest integer, or a little less or more so that the others round better.
  STEELYARD_HD void choose_super_scales(Candidates& super_scales) const {
    float largest = 0.0f;
    for (const ScaleFit& ideal : unconstrained_) {
      if (std::fabs(ideal.scale) > std::fabs(largest)) largest = ideal.scale;
    }
    LaneArray<kTriedSuperScales> tried, losses;
    tried.fill([&](int k) {
      return largest / (static_cast<float>(F::kLowSubScale) * (1.03f - 0.0125f * static_cast<float>(k)));
    });
    for (int k = 0; k < kTriedSuperScales; k += kLanes) {
      const Floats d = tried.get(k);
      const Floats inverse = inverse_or_zero(d);
      Floats loss = {};
      for (const ScaleFit& ideal : unconstrained_) {
        const float square = ideal.scale * ideal.scale;
        const float curvature = square > FLT_MIN ? ideal.gain / square : 0.0f;
        const Floats off = sub_scale_levels().nearest(ideal.scale * inverse) * d - ideal.scale;
        loss += curvature * (off * off);
      }
      losses.put(k, loss);
    }
    for (int n = 0; n < budget_.super_scales; ++n) {
      const int least = argmin(losses);
      super_scales.set(n, tried[least]);
      losses.set(least, FLT_MAX);
    }
  }

  /// The best integer scales under d, as it is stored, near the unconstrained ones or `present`.
  STEELYARD_HD void fit_under(float super_scale, Fit& fit, const int8_t* present = nullptr) const {
    const Half stored = block_.store(super_scale);
    const float d = block_.load(stored);
    double error = 0.0;
    ScaleSums sums;
    const int low = F::kLowSubScale;
    const int high = F::kHighSubScale;
    for (int b = 0; b < kSubBlocks; ++b) {
      const int centre = d == 0.0f ? 0 : nearest_down(unconstrained_[b].scale / d, low, high);
      Candidates sub_scales;
      sub_scales.fill([&](int c) { return static_cast<float>(std::clamp(centre + c - kCandidates / 2, low, high)); });
      if (present != nullptr) sub_scales.set(0, static_cast<float>(*present));
      assign(fit.scales.scale[b], best_sub_scale(b, d, sub_scales, error, sums));
    }
    once([&] {
      fit.scales.d = stored;
      fit.error = error;
      fit.sums = sums;
    });
  }

  /// The best of these integer scales for a sub-block. Adds its error and its sums.
  STEELYARD_HD int8_t best_sub_scale(int b, float d, const Candidates& sub_scales, double& total,
                                     ScaleSums& sums) const {
    const float* const x = block_.x + b * kSubBlockLen;
    const float* const w = block_.w + b * kSubBlockLen;
    Candidates errors, rests, squares;  // rests: sums of w * q * (x - scale * q)
    for (int c = 0; c < kCandidates; c += kLanes) {
      const Floats scale = d * sub_scales.get(c);
      const Floats inverse = inverse_or_zero(scale);
      Floats error = {};
      Floats rest = {};
      Floats square = {};
      for (int i = 0; i < kSubBlockLen; ++i) {
        const Floats q = levels().nearest(x[i] * inverse);
        const Floats difference = x[i] - scale * q;
        const Floats weighted = w[i] * difference;
        error += weighted * difference;
        rest += weighted * q;
        square += (w[i] * q) * q;
      }
      errors.put(c, error);
      rests.put(c, rest);
      squares.put(c, square);
    }
    const int best = argmin(errors);
    const double sub_scale = sub_scales[best];
    const float square = squares[best];
    total += errors[best];
    sums.xq += sub_scale * (rests[best] + d * sub_scale * square);
    sums.qq += sub_scale * sub_scale * square;
    return static_cast<int8_t>(sub_scale);
  }

  /// Least squares for d, for fixed scales and codes.
  STEELYARD_HD float improved(const Fit& fit) const {
    const float d = block_.load(fit.scales.d);
    const float other = block_.load(block_.store(static_cast<float>(fit.sums.best_scale())));
    return fit.sums.error(other) < fit.sums.error(d) ? other : d;
  }

  NormalizedBlock block_;
  SymmetricBudget budget_;
  ScaleFit unconstrained_[kSubBlocks];
};

/// Base of a traits struct F, which has kBlockLen, kScaleLen, kMaxCode and kHighSubScale, the largest integer scale;
/// codes and scales go one further down than up. Scales are tried under which the largest value of a sub-block meets
/// level kFirstLevel, or one of those that follow by kNextLevel (higher levels cut it off).
template <class F>
struct SymmetricEncoder {
  static constexpr int kVectorDim = 1;
  static constexpr int kSubBlocks = F::kBlockLen / F::kScaleLen;
  static constexpr int kLowCode = -F::kMaxCode;
  static constexpr int kHighCode = F::kMaxCode - 1;
  static constexpr int kLowSubScale = -F::kHighSubScale - 1;
  using Scales = SymmetricScales;
  template <class Format>
  using SearchOf = SymmetricSearch<Format>;

  STEELYARD_HD static Scales fit(const float* x, const float* w, Effort effort, uint32_t* codes) {
    Common<Scales> scales;
    {
      Common<SymmetricSearch<F>> search(x, w, effort);
      assign(*scales, search->run());
    }
    constexpr int kLen = F::kBlockLen / F::kSubBlocks;
    for (int b = 0; b < F::kSubBlocks; ++b) {
      round_values(x + b * kLen, kLen, scale_of(*scales, b), 0.0f, F::kLowCode, F::kHighCode, codes + b * kLen);
    }
    return *scales;
  }

  STEELYARD_HD static uint32_t round(const float* x, const float*, const Scales& scales, int position, float* values) {
    const float scale = scale_of(scales, position / (F::kBlockLen / F::kSubBlocks));
    const int q = scale == 0.0f ? 0 : nearest_down(*x / scale, F::kLowCode, F::kHighCode);
    *values = scale * static_cast<float>(q);
    return static_cast<uint32_t>(q - F::kLowCode);
  }

  STEELYARD_HD static void rescale(const float* x, const float* w, int position, Effort effort, Scales& scales) {
    const int b = position / (F::kBlockLen / F::kSubBlocks);
    Common<SymmetricSearch<F, 1>> search(x, w, effort);
    const int8_t present = scales.scale[b];
    assign(scales.scale[b], search->sub_scales_under(scales.d, present).scale[0]);
  }

  /// For given codes and integer scales, the block is one long vector of levels scale * q under d.
  STEELYARD_HD static void refit(const float* x, const float* w, const uint32_t* codes, Scales& scales) {
    ScaleSums sums;
    for (int i = 0; i < F::kBlockLen; ++i) {
      const int scale = scales.scale[i / (F::kBlockLen / F::kSubBlocks)];
      sums.add(x[i], w[i], scale * (static_cast<int>(codes[i]) + F::kLowCode));
    }
    scales.d = refit_scale(sums, scales.d);
  }

 private:
  STEELYARD_HD static float scale_of(const Scales& scales, int b) {
    return to_float(scales.d) * static_cast<float>(scales.scale[b]);
  }
};

}  // namespace steelyard::formats::inline STEELYARD_TARGET
