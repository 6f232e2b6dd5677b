// The search that all codebook formats (IQ1, IQ2, IQ3) share: for the scales of a block, and with them its codes.
//
// The scale of a sub-block is d * kUnit * (2 * step + 1), with d a half and the step stored in 3 or 4 bits. First every
// sub-block finds the best codewords at some scales around the expected one, and with them its best unconstrained
// scale. Then d is chosen so that these scales lie close to storable ones. Under that d every sub-block takes the best
// of all steps, with each code the best of its codewords at the scale as it is stored.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "formats/search/codebook_lines.h"
#include "formats/search/search.h"

namespace steelyard::inline STEELYARD_TARGET {

/// What a codebook format stores besides its codes.
struct SteppedScales {
  static constexpr int kMaxSubBlocks = 16;
  Half d;
  uint8_t step[kMaxSubBlocks];
  uint8_t variant[kMaxSubBlocks];  ///< IQ1_S: 1 where the shift of the sub-block is negative; else 0
};

/// How far the search goes at each level of effort.
struct CodebookReach {
  Among among;
  int scales;   ///< at which the codewords of a sub-block are searched, around the one to expect
  float ratio;  ///< of one such scale to the next
  int units;    ///< values of d tried
  int refits;   ///< rounds of least squares for d, each with new steps and codes
};

STEELYARD_HD constexpr CodebookReach codebook_reach(Effort effort) {
  switch (effort) {
    case Effort::kFast:
      return {.among = Among::kNear, .scales = 2, .ratio = 1.25f, .units = 1, .refits = 1};
    case Effort::kNormal:
      return {.among = Among::kNear, .scales = 4, .ratio = 1.2f, .units = 2, .refits = 1};
    default:
      return {.among = Among::kAll, .scales = 12, .ratio = 1.12f, .units = 12, .refits = 4};
  }
}

/// Sums over the codes of a sub-block. They give the gain at any scale for these fixed codes.
struct GainSums {
  float xg = 0.0f;
  float gg = 0.0f;

  STEELYARD_HD float gain(float scale) const { return scale * (2.0f * xg - scale * gg); }
  STEELYARD_HD float best_scale() const { return gg > 0.0f && xg > 0.0f ? xg / gg : 0.0f; }
};

/// The scale of a step of format F.
template <class F>
STEELYARD_HD float stepped_scale(float d, int step) {
  return d * (static_cast<float>(F::kUnit) * static_cast<float>(2 * step + 1));
}

/// The search over one block, or over the first sub-blocks of one.
template <class F, int kSubBlocks = F::kSubBlocks>
class CodebookSearch {
 public:
  STEELYARD_HD CodebookSearch(const float* x, const float* w, CodebookReach reach) : block_(x, w, kLen), reach_(reach) {
    for (int v = 0; v < kCodes; ++v) joints_[v] = JointLines<F>(block_.x + v * F::kJoint, block_.w + v * F::kJoint);
    for (int b = 0; b < kSubBlocks; ++b) {
      for (int variant = 0; variant < F::kVariants; ++variant) trace(b, variant);
    }
  }

  STEELYARD_HD SteppedScales run(uint32_t* codes) {
    float units[kTriedUnits];
    choose_units(units);
    raise_small(units[0]);
    const Fit best = best_fit<Fit>(
        units, reach_.units, reach_.refits, [&](float d) { return under(d); },
        [](const Fit& fit) { return fit.least_squares_d; });
    for (int v = 0; v < kCodes; ++v) {
      const int b = v / kCodesPerSubBlock;
      const float scale = stepped_scale<F>(block_.load(best.scales.d), best.scales.step[b]);
      codes[v] = joints_[v].code(envelopes_[best.scales.variant[b]][v].best(scale).code);
    }
    return best.scales;
  }

  /// The best steps and variants for a given d.
  STEELYARD_HD SteppedScales steps_under(Half d) {
    raise_small(block_.load(d));
    return under(block_.load(d)).scales;
  }

 private:
  static constexpr int kSubBlockLen = F::kBlockLen / F::kSubBlocks;
  static constexpr int kLen = kSubBlocks * kSubBlockLen;
  static constexpr int kCodes = kLen / F::kJoint;
  static constexpr int kCodesPerSubBlock = kCodes / kSubBlocks;
  static constexpr int kTriedUnits = 32;
  static constexpr int kMaxTries = 3;

  /// The best unconstrained scale of a sub-block: around it the gain falls by gg * (scale - own)^2.
  struct Free {
    float scale;
    float gg;
    float gain;
  };

  struct Fit {
    SteppedScales scales;
    float error;            ///< against that of all zeros
    float least_squares_d;  ///< what d should be for these steps and codes
  };

  /// Finds the best lines of a sub-block at the scales of a ladder.
  STEELYARD_HD void find_lines(int b, int variant, const Ladder& ladder) {
    for (int v = b * kCodesPerSubBlock; v < (b + 1) * kCodesPerSubBlock; ++v) {
      joints_[v].envelope(ladder, reach_.among, variant, envelopes_[variant][v]);
    }
  }

  /// Finds the lines of a sub-block around its best scale.
  STEELYARD_HD void trace(int b, int variant) {
    float scale = expected_scale(b);
    for (int tries = 0; tries < kMaxTries; ++tries) {
      const Ladder ladder(scale, reach_.ratio, reach_.scales);
      find_lines(b, variant, ladder);
      // The range reaches a little beyond the series of scales on both sides.
      const float low = ladder.scale[0] / reach_.ratio;
      const float between = (ladder.scale[ladder.size - 1] * reach_.ratio - low) / (kCandidates - 1);
      float scales[kCandidates];
      for (int c = 0; c < kCandidates; ++c) scales[c] = low + between * static_cast<float>(c);
      const GainSums sums = sums_at(b, variant, scales[best_of(b, variant, scales)]);
      const float own = sums.best_scale();
      free_[variant][b] = {own, sums.gg, sums.gain(own)};
      if (own >= ladder.scale[0] && own <= ladder.scale[ladder.size - 1]) break;
      scale = own > 0.0f ? own : scale;
    }
  }

  /// Sub-blocks that are too small for d take the smallest step, and its best codewords.
  STEELYARD_HD void raise_small(float d) {
    const float smallest = stepped_scale<F>(d, 0);
    for (int b = 0; b < kSubBlocks; ++b) {
      for (int variant = 0; variant < F::kVariants; ++variant) {
        if (1.5f * free_[variant][b].scale >= smallest) continue;
        find_lines(b, variant, Ladder(smallest, reach_.ratio, reach_.scales));
      }
    }
  }

  /// The first of the scales with the largest gain of a sub-block, with each code on its best line.
  STEELYARD_HD int best_of(int b, int variant, const float (&scales)[kCandidates]) const {
    float losses[kCandidates];
    for (int c = 0; c < kCandidates; c += kLanes) {
      const Floats scale = load(scales + c);
      const Floats half = 0.5f * scale;
      Floats sum = {};
      for (int v = b * kCodesPerSubBlock; v < (b + 1) * kCodesPerSubBlock; ++v) {
        const Envelope& envelope = envelopes_[variant][v];
        Floats most = envelope.line[0].xg - half * envelope.line[0].gg;
        for (int k = 1; k < reach_.scales; ++k) most = max(most, envelope.line[k].xg - half * envelope.line[k].gg);
        sum += most;
      }
      store(-(scale * sum), losses + c);
    }
    return first_least(losses);
  }

  /// The sums over the lines that are best at the scale.
  STEELYARD_HD GainSums sums_at(int b, int variant, float scale) const {
    GainSums sums;
    for (int v = b * kCodesPerSubBlock; v < (b + 1) * kCodesPerSubBlock; ++v) {
      const Line& line = envelopes_[variant][v].best(scale);
      sums.xg += line.xg;
      sums.gg += line.gg;
    }
    return sums;
  }

  /// The scale that brings the mean of the eighth powers to its typical value at the best scale. Large values count,
  /// since codewords end at the highest level, but the largest does not count alone. For magnitudes that are almost
  /// equal, it is the scale that brings them to the smallest level, because every book has that codeword.
  STEELYARD_HD float expected_scale(int b) const {
    const float* const x = block_.x + b * kSubBlockLen;
    const float* const w = block_.w + b * kSubBlockLen;
    Floats low = broadcast(1.0f);
    Floats high = {};
    for (int i = 0; i < kSubBlockLen; i += kLanes) {
      const Floats size = max(load(x + i), -load(x + i));
      low = min(low, size);
      high = max(high, size);
    }
    const float most = largest(high);
    if (F::kSigns != Signs::kShifted && least(low) > 0.8f * most) return most / BookOf<F>::kSmallestLevel;
    const Floats inverse = inverse_or_zero(broadcast(most));
    LaneSum weights, eighths;
    for (int i = 0; i < kSubBlockLen; i += kLanes) {
      const Floats part = load(x + i) * inverse;
      const Floats fourth = (part * part) * (part * part);
      weights.add(i, load(w + i));
      eighths.add(i, load(w + i) * (fourth * fourth));
    }
    const float total = weights.total();
    return total > 0.0f ? most * std::sqrt(std::sqrt(std::sqrt(eighths.total() / total))) / F::kTypicalLevel : 0.0f;
  }

  /// Values of d under which the unconstrained scales of the sub-blocks are stored with least loss, in that order.
  /// Around its unconstrained scale a sub-block loses gg * (scale - free)^2.
  STEELYARD_HD void choose_units(float* units) const {
    Free free[kSubBlocks];
    float largest = 0.0f;
    for (int b = 0; b < kSubBlocks; ++b) {
      free[b] = free_[0][b];
      for (int variant = 1; variant < F::kVariants; ++variant) {
        if (free_[variant][b].gain > free[b].gain) free[b] = free_[variant][b];
      }
      largest = std::max(largest, free[b].scale);
    }
    // From a little above the d that gives the largest scale the last step, down to the d that cuts it by a third.
    float tried[kTriedUnits];
    for (int k = 0; k < kTriedUnits; ++k) {
      tried[k] = largest / stepped_scale<F>(1.0f, F::kSteps - 1) * (1.06f - 0.0125f * static_cast<float>(k));
    }
    const IntegerLevels steps = {0.0f, static_cast<float>(F::kSteps - 1)};
    float losses[kTriedUnits];
    for (int k = 0; k < kTriedUnits; k += kLanes) {
      const Floats first = load(tried + k) * static_cast<float>(F::kUnit);
      const Floats inverse = inverse_or_zero(2.0f * first);
      Floats loss = {};
      for (int b = 0; b < kSubBlocks; ++b) {
        const Floats step = steps.nearest(free[b].scale * inverse - 0.5f);
        const Floats off = first * (2.0f * step + 1.0f) - free[b].scale;
        loss += free[b].gg * (off * off);
      }
      store(loss, losses + k);
    }
    for (int n = 0; n < reach_.units; ++n) {
      const int least = first_least(losses, kTriedUnits);
      units[n] = tried[least];
      losses[least] = HUGE_VALF;
    }
  }

  /// The best steps and variants under d.
  STEELYARD_HD Fit under(float d) const {
    Fit fit = {{block_.store(d), {}, {}}, 0.0f, 0.0f};
    const float stored = block_.load(fit.scales.d);
    float scales[kCandidates];
    for (int c = 0; c < kCandidates; ++c) scales[c] = stepped_scale<F>(stored, std::min(c, F::kSteps - 1));
    GainSums of_d;
    for (int b = 0; b < kSubBlocks; ++b) {
      float most = -HUGE_VALF;
      GainSums chosen;
      for (int variant = 0; variant < F::kVariants; ++variant) {
        const int step = best_of(b, variant, scales);
        const GainSums sums = sums_at(b, variant, scales[step]);
        const float gain = sums.gain(scales[step]);
        if (gain <= most) continue;
        most = gain;
        chosen = sums;
        fit.scales.step[b] = static_cast<uint8_t>(step);
        fit.scales.variant[b] = static_cast<uint8_t>(variant);
      }
      const float multiple = stepped_scale<F>(1.0f, fit.scales.step[b]);
      fit.error -= most;
      of_d.xg += multiple * chosen.xg;
      of_d.gg += multiple * multiple * chosen.gg;
    }
    fit.least_squares_d = of_d.best_scale();
    return fit;
  }

  UnitBlock block_;
  CodebookReach reach_;
  JointLines<F> joints_[kCodes];
  Envelope envelopes_[F::kVariants][kCodes];
  Free free_[F::kVariants][kSubBlocks];
};

}  // namespace steelyard::inline STEELYARD_TARGET
