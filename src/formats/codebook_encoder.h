// The encoder steps that all codebook formats (IQ1, IQ2, IQ3) share: the search for scales, and round and refit. What
// is left to the format is its numbers, and pack.
//
// The scale of a sub-block is d * kUnit * (2 * step + 1), with d a half and the step stored in 3 or 4 bits. First every
// sub-block finds the scale that it wants. Then d is chosen so that the wanted scales lie close to what can be stored,
// and under that d every sub-block takes its best step, with all codewords searched under the scale as it is stored.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "formats/codebook_lines.h"
#include "formats/search.h"

namespace steelyard::inline STEELYARD_ISA {

/// What a codebook format stores beside its codes.
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

/// The error of a sub-block over the scale that its codes share: the sum of their envelopes.
class SubBlockError {
 public:
  struct Totals {
    double xg = 0.0;
    double gg = 0.0;
    STEELYARD_HD double gain(double scale) const { return scale * (2.0 * xg - scale * gg); }
  };

  STEELYARD_HD void clear() {
    loudest_ = {};
    n_ = 0;
  }

  STEELYARD_HD void add(const Envelope& envelope) {
    loudest_.xg += envelope[0].xg;
    loudest_.gg += envelope[0].gg;
    for (int i = 1; i < envelope.size(); ++i) {
      const Line& louder = envelope[i - 1];
      const Line& quieter = envelope[i];
      changes_[n_++] = {crossing(louder, quieter), louder.xg - quieter.xg, louder.gg - quieter.gg};
    }
  }

  /// Call once, after the last add. Sorts by scale: few changes, in runs that are sorted already. (Not std::sort, which
  /// moves memory in a way that nvcc makes nonsense of.)
  STEELYARD_HD void finish() {
    for (int i = 1; i < n_; ++i) {
      const Change change = changes_[i];
      int at = i;
      for (; at > 0 && change.scale < changes_[at - 1].scale; --at) changes_[at] = changes_[at - 1];
      changes_[at] = change;
    }
  }

  /// The scale of least error, and the sums there.
  STEELYARD_HD double best_scale(Totals& at) const {
    Totals totals = loudest_;
    double best = 0.0;
    double most = 0.0;
    at = totals;
    for (int i = 0; i <= n_; ++i) {
      const double from = i == 0 ? 0.0 : changes_[i - 1].scale;
      double scale = totals.gg > 0.0 ? totals.xg / totals.gg : 0.0;
      if (i < n_) scale = std::clamp(scale, from, std::max(from, double{changes_[i].scale}));
      if (totals.gain(scale) > most) {
        most = totals.gain(scale);
        best = scale;
        at = totals;
      }
      if (i < n_) subtract(changes_[i], totals);
    }
    return best;
  }

  /// The step in [low, high] of the largest gain when the scale is first * (2 * step + 1).
  STEELYARD_HD int best_step(double first, int low, int high, Totals& at) const {
    Totals totals = loudest_;
    double most = -HUGE_VAL;
    int best = low;
    int i = 0;
    for (int step = low; step <= high; ++step) {
      const double scale = first * (2 * step + 1);
      for (; i < n_ && changes_[i].scale <= scale; ++i) subtract(changes_[i], totals);
      if (totals.gain(scale) > most) {
        most = totals.gain(scale);
        best = step;
        at = totals;
      }
    }
    return best;
  }

 private:
  /// From `scale` on, one code has its next line, and the sums are less by so much.
  struct Change {
    float scale;
    float xg;
    float gg;
  };
  STEELYARD_HD static void subtract(const Change& change, Totals& totals) {
    totals.xg -= change.xg;
    totals.gg -= change.gg;
  }

  static constexpr int kMaxCodes = 8;
  Change changes_[kMaxCodes * Envelope::kMaxLines];
  int n_ = 0;
  Totals loudest_;
};

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

  STEELYARD_HD SteppedScales run(uint32_t* codes) const {
    double units[kTriedUnits];
    const int n_units = choose_units(units);
    Fit best = under(units[0]);
    for (int k = 1; k < n_units; ++k) keep_better(under(units[k]), best);
    for (int k = 0; k < reach_.refits && keep_better(under(best.least_squares_d), best); ++k) {
    }
    for (int v = 0; v < kCodes; ++v) {
      const int b = v / kCodesPerSubBlock;
      const double scale = block_.load(best.scales.d) * F::kUnit * (2 * best.scales.step[b] + 1);
      codes[v] = joints_[v].code(envelopes_[best.scales.variant[b]][v].best(static_cast<float>(scale)).code);
    }
    return best.scales;
  }

  /// The best steps and variants under a d that is settled.
  STEELYARD_HD SteppedScales steps_under(Half d) const { return under(block_.load(d)).scales; }

 private:
  using Totals = SubBlockError::Totals;
  static constexpr int kSubBlockLen = F::kBlockLen / F::kSubBlocks;
  static constexpr int kLen = kSubBlocks * kSubBlockLen;
  static constexpr int kCodes = kLen / F::kJoint;
  static constexpr int kCodesPerSubBlock = kCodes / kSubBlocks;
  static constexpr int kTriedUnits = 32;
  static constexpr int kStepReach = 2;
  static constexpr int kMaxTries = 3;

  /// The scale that a sub-block would take if it could have any: around it the gain falls by gg * (scale - own)^2.
  struct Free {
    double scale;
    double gg;
    double gain;
  };

  struct Fit {
    SteppedScales scales;
    double gain;
    double least_squares_d;  ///< what d should be for these steps and codes
  };

  /// Finds the lines of a sub-block around the scale that suits it.
  STEELYARD_HD void trace(int b, int variant) {
    float scale = expected_scale(b);
    for (int tries = 0; tries < kMaxTries; ++tries) {
      const Ladder ladder(scale, reach_.ratio, reach_.scales);
      SubBlockError& error = errors_[variant][b];
      error.clear();
      for (int v = b * kCodesPerSubBlock; v < (b + 1) * kCodesPerSubBlock; ++v) {
        envelopes_[variant][v] = joints_[v].envelope(ladder, reach_.among, variant);
        error.add(envelopes_[variant][v]);
      }
      error.finish();
      SubBlockError::Totals at;
      const auto own = static_cast<float>(error.best_scale(at));
      free_[variant][b] = {own, at.gg, at.gain(own)};
      if (own >= ladder.scale[0] && own <= ladder.scale[ladder.size - 1]) break;
      scale = own > 0.0f ? own : scale;
    }
  }

  /// The scale that gives typical codewords the energy of the sub-block; for magnitudes that are almost equal, the
  /// scale that brings them to the smallest level, since that codeword every book has.
  STEELYARD_HD float expected_scale(int b) const {
    double xx = 0.0;
    double ww = 0.0;
    float smallest = HUGE_VALF;
    float largest = 0.0f;
    for (int i = b * kSubBlockLen; i < (b + 1) * kSubBlockLen; ++i) {
      xx += static_cast<double>(block_.w[i]) * block_.x[i] * block_.x[i];
      ww += block_.w[i];
      smallest = std::min(smallest, std::fabs(block_.x[i]));
      largest = std::max(largest, std::fabs(block_.x[i]));
    }
    const bool even = F::kSigns != Signs::kShifted && smallest > 0.8f * largest;
    const double level = even ? F::Book::kSmallestLevel : F::kTypicalLevel;
    return ww > 0.0 ? static_cast<float>(std::sqrt(xx / ww) / level) : 0.0f;
  }

  /// Values of d under which the free scales of the sub-blocks are stored with least loss, in that order. Around its
  /// free scale a sub-block loses gg * (scale - free)^2.
  STEELYARD_HD int choose_units(double* units) const {
    Free free[kSubBlocks];
    double largest = 0.0;
    for (int b = 0; b < kSubBlocks; ++b) {
      free[b] = free_[0][b];
      for (int variant = 1; variant < F::kVariants; ++variant) {
        if (free_[variant][b].gain > free[b].gain) free[b] = free_[variant][b];
      }
      largest = std::max(largest, free[b].scale);
    }
    double tried[kTriedUnits];
    double losses[kTriedUnits];
    for (int k = 0; k < kTriedUnits; ++k) {
      // From a little above what gives the largest scale the last step, down to where it is cut by a third.
      tried[k] = largest / (F::kUnit * (2 * F::kSteps - 1)) * (1.06 - 0.0125 * k);
      losses[k] = 0.0;
      const double first = tried[k] * F::kUnit;
      for (int b = 0; b < kSubBlocks && first > 0.0; ++b) {
        const double off = first * (2 * step_near(free[b].scale, first) + 1) - free[b].scale;
        losses[k] += free[b].gg * off * off;
      }
    }
    for (int n = 0; n < reach_.units; ++n) {
      const int least = first_least(losses, kTriedUnits);
      units[n] = tried[least];
      losses[least] = HUGE_VAL;
    }
    return reach_.units;
  }

  /// The step whose scale first * (2 * step + 1) is nearest.
  STEELYARD_HD static int step_near(double scale, double first) {
    return static_cast<int>(std::clamp(0.5 * scale / first, 0.0, F::kSteps - 1.0));
  }

  /// The best steps and variants under d.
  STEELYARD_HD Fit under(double d) const {
    Fit fit = {{block_.store(static_cast<float>(d)), {}, {}}, 0.0, 0.0};
    const double first = block_.load(fit.scales.d) * F::kUnit;
    double xg = 0.0;
    double gg = 0.0;
    for (int b = 0; b < kSubBlocks; ++b) {
      double most = -HUGE_VAL;
      Totals chosen;
      for (int variant = 0; variant < F::kVariants; ++variant) {
        Totals at;
        const int near = first > 0.0 ? step_near(free_[variant][b].scale, first) : 0;
        const int step = errors_[variant][b].best_step(first, std::max(near - kStepReach, 0),
                                                       std::min(near + kStepReach, F::kSteps - 1), at);
        const double gain = at.gain(first * (2 * step + 1));
        if (gain <= most) continue;
        most = gain;
        chosen = at;
        fit.scales.step[b] = static_cast<uint8_t>(step);
        fit.scales.variant[b] = static_cast<uint8_t>(variant);
      }
      const double multiple = F::kUnit * (2 * fit.scales.step[b] + 1);
      fit.gain += most;
      xg += multiple * chosen.xg;
      gg += multiple * multiple * chosen.gg;
    }
    fit.least_squares_d = gg > 0.0 ? std::max(xg / gg, 0.0) : 0.0;
    return fit;
  }

  STEELYARD_HD static bool keep_better(const Fit& fit, Fit& best) {
    if (fit.gain <= best.gain) return false;
    best = fit;
    return true;
  }

  UnitBlock block_;
  CodebookReach reach_;
  JointLines<F> joints_[kCodes];
  Envelope envelopes_[F::kVariants][kCodes];
  SubBlockError errors_[F::kVariants][kSubBlocks];
  Free free_[F::kVariants][kSubBlocks];
};

/// Base of a traits struct F, which has beside what JointLines asks for: kBlockLen, kSubBlocks, kSteps, kUnit,
/// kTypicalLevel (root mean square of the values of all codewords), and scale_of(d, step), the scale of those values.
template <class F>
struct CodebookEncoder {
  using Scales = SteppedScales;

  STEELYARD_HD static void objective(const float* x, const float* importance, float* w) {
    importance_objective(x, importance, F::kBlockLen, w);
  }

  STEELYARD_HD static Scales fit(const float* x, const float* w, Effort effort, uint32_t* codes) {
    return CodebookSearch<F>(x, w, codebook_reach(effort)).run(codes);
  }

  STEELYARD_HD static uint32_t round(const float* x, const float* w, const Scales& scales, int position,
                                     float* values) {
    const int b = position / (F::kBlockLen / F::kSubBlocks);
    const float scale = F::scale_of(scales.d, scales.step[b]);
    // Relative to the scale and to the largest weight nothing overflows; beyond kFar the largest codeword wins anyway.
    constexpr float kFar = 1e6f;
    float largest = w[0];
    for (int j = 1; j < F::kJoint; ++j) largest = std::max(largest, w[j]);
    float relative_x[F::kJoint];
    float relative_w[F::kJoint];
    for (int j = 0; j < F::kJoint; ++j) {
      relative_w[j] = largest > 0.0f ? w[j] / largest : 1.0f;
      relative_x[j] = scale > 0.0f ? std::clamp(x[j] / scale, -kFar, kFar) : 0.0f;
    }
    const JointLines<F> lines(relative_x, relative_w);
    const uint32_t code = lines.code(lines.envelope(Ladder(1.0f, 1.0f, 1), Among::kAll, scales.variant[b])[0].code);
    levels(code, scales.variant[b], values);
    for (int j = 0; j < F::kJoint; ++j) values[j] *= scale;
    return code;
  }

  STEELYARD_HD static void rescale(const float* x, const float* w, int position, Effort effort, Scales& scales) {
    const int b = position / (F::kBlockLen / F::kSubBlocks);
    const Scales own = CodebookSearch<F, 1>(x, w, codebook_reach(effort)).steps_under(scales.d);
    scales.step[b] = own.step[0];
    scales.variant[b] = own.variant[0];
  }

  /// For given codes and steps, the block is one long vector of levels under the scale d.
  STEELYARD_HD static void refit(const float* x, const float* w, const uint32_t* codes, Scales& scales) {
    ScaleSums sums;
    for (int v = 0; v < F::kBlockLen / F::kJoint; ++v, x += F::kJoint, w += F::kJoint) {
      const int b = v / (F::kBlockLen / F::kSubBlocks / F::kJoint);
      const double multiple = F::kUnit * (2 * scales.step[b] + 1);
      float q[F::kJoint];
      levels(codes[v], scales.variant[b], q);
      for (int j = 0; j < F::kJoint; ++j) sums.add(x[j], w[j], q[j] * multiple);
    }
    scales.d = refit_scale(sums, scales.d);
  }

  STEELYARD_HD static uint32_t index_of(uint32_t code, int vector = 0) {
    return (code >> (vector * F::kIndexBits)) & ((1u << F::kIndexBits) - 1);
  }
  /// Sign bits of the values, or the bit of the shift.
  STEELYARD_HD static uint32_t signs_of(uint32_t code) { return code >> (F::kVectors * F::kIndexBits); }

  /// Values [kJoint] of a code under scale 1.
  STEELYARD_HD static void levels(uint32_t code, int variant, float* values) {
    constexpr int kDim = F::kJoint / F::kVectors;
    constexpr bool kShifted = F::kSigns == Signs::kShifted;
    const uint32_t signs = signs_of(code);
    const auto& book = book_of<F>(!kShifted ? 0 : F::kVariants == 2 ? variant : static_cast<int>(signs));
    for (int j = 0; j < F::kJoint; ++j) {
      const int value = book.value(static_cast<int>(index_of(code, j / kDim)), j % kDim);
      values[j] = static_cast<float>(!kShifted && (signs >> j & 1) != 0 ? -value : value);
    }
  }
};

}  // namespace steelyard::inline STEELYARD_ISA
