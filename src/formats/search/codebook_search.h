// The search that all codebook formats (IQ1, IQ2, IQ3) share: for the scales of a block, and with them its codes.
//
// The scale of a sub-block is d * kSubScaleUnit * (2 * sub_scale + 1), with d a half and sub_scale stored in 3 or 4
// bits. First every sub-block finds the best codewords at some scales around the expected one, and with them its best
// unconstrained scale. Then d is chosen so that these scales lie close to storable ones. Under that d every sub-block
// takes the best of all sub-block scales, with each code the best of its codewords at the scale as it is stored.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "formats/search/search.h"
#include "formats/search/vector_search.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

/// What a codebook format stores besides its codes.
struct CodebookScales {
  static constexpr int kMaxSubBlocks = 16;
  Half d;
  uint8_t sub_scale[kMaxSubBlocks];
  uint8_t variant[kMaxSubBlocks];  ///< IQ1_S: 1 where the shift of the sub-block is negative; else 0
};

/// How far the search goes at each level of effort.
struct CodebookBudget {
  SearchSet search_set;
  int scales;        ///< at which the codewords of a sub-block are searched, around the one to expect
  float ratio;       ///< of one such scale to the next
  int super_scales;  ///< values of d tried
  int refits;        ///< rounds of least squares for d, each with new sub-block scales and codes
};

STEELYARD_HD constexpr CodebookBudget codebook_budget(Effort effort) {
  switch (effort) {
    case Effort::kFast:
      return {.search_set = SearchSet::kNear, .scales = 2, .ratio = 1.25f, .super_scales = 1, .refits = 1};
    case Effort::kNormal:
      return {.search_set = SearchSet::kNear, .scales = 4, .ratio = 1.2f, .super_scales = 2, .refits = 1};
    default:
      return {.search_set = SearchSet::kAll, .scales = 12, .ratio = 1.12f, .super_scales = 12, .refits = 4};
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
STEELYARD_HD float stepped_scale(float d, int sub_scale) {
  return d * (static_cast<float>(F::kSubScaleUnit) * static_cast<float>(2 * sub_scale + 1));
}

/// The search over one block, or over the first sub-blocks of one.
template <class F, int kSubBlocks = F::kSubBlocks>
class CodebookSearch {
 public:
  STEELYARD_HD CodebookSearch(const float* x, const float* w, CodebookBudget budget)
      : block_(x, w, kLen), budget_(budget) {
    each(kCodes,
         [&](int v) { vectors_[v] = VectorSearch<F>(block_.x + v * F::kVectorDim, block_.w + v * F::kVectorDim); });
    for (int b = 0; b < kSubBlocks; ++b) {
      for (int variant = 0; variant < F::kVariants; ++variant) search_sub_block(b, variant);
    }
  }

  /// Of the object, which ends with what only the best effort fills.
  STEELYARD_HD static constexpr size_t used_bytes(const float*, const float*, CodebookBudget budget) {
    return sizeof(CodebookSearch) - sizeof(lines_) + F::kVariants * kCodes * budget.scales * sizeof(CodewordScore);
  }

  STEELYARD_HD CodebookScales run(uint32_t* codes) {
    Candidates super_scales;
    choose_super_scales(super_scales);
    extend_to_smallest_scale(super_scales[0]);
    Common<Fit> best;
    best_fit([&](int k) { return super_scales[k]; }, budget_.super_scales, budget_.refits,
             [&](float d, Fit& fit) { fit_under(d, fit); }, [](const Fit& fit) { return fit.least_squares_d; }, *best);
    const CodebookScales& scales = best->scales;
    each(kCodes, [&](int v) {
      const int b = v / kCodesPerSubBlock;
      const float scale = stepped_scale<F>(block_.load(scales.d), scales.sub_scale[b]);
      codes[v] = vectors_[v].code(best_line(lines(scales.variant[b], v), budget_.scales, scale).code);
    });
    return scales;
  }

  /// The best sub-block scales and variants for a given d.
  STEELYARD_HD CodebookScales sub_scales_under(Half d) {
    extend_to_smallest_scale(block_.load(d));
    Common<Fit> fit;
    fit_under(block_.load(d), *fit);
    return fit->scales;
  }

 private:
  static constexpr int kSubBlockLen = F::kBlockLen / F::kSubBlocks;
  static constexpr int kLen = kSubBlocks * kSubBlockLen;
  static constexpr int kCodes = kLen / F::kVectorDim;
  static constexpr int kCodesPerSubBlock = kCodes / kSubBlocks;
  static constexpr int kTriedSuperScales = 32;
  static constexpr int kMaxTries = 3;

  /// The best unconstrained scale of a sub-block: around it the gain falls by gg * (scale - own)^2.
  struct UnconstrainedScale {
    float scale;
    float gg;
    float gain;
  };

  struct Fit {
    CodebookScales scales;
    float error;            ///< against that of all zeros
    float least_squares_d;  ///< what d should be for these sub-block scales and codes
  };

  /// The best lines of a vector, budget_.scales of them.
  STEELYARD_HD CodewordScore* lines(int variant, int v) { return lines_ + (variant * kCodes + v) * budget_.scales; }
  STEELYARD_HD const CodewordScore* lines(int variant, int v) const {
    return lines_ + (variant * kCodes + v) * budget_.scales;
  }

  /// Finds the best lines of a sub-block at the scales of a grid.
  STEELYARD_HD void find_codewords(int b, int variant, const ScaleGrid& grid) {
    for (int v = b * kCodesPerSubBlock; v < (b + 1) * kCodesPerSubBlock; ++v) {
      vectors_[v].best_codes(grid, budget_.search_set, variant, lines(variant, v));
    }
  }

  /// Finds the lines of a sub-block around its best scale.
  STEELYARD_HD void search_sub_block(int b, int variant) {
    float scale = expected_scale(b);
    for (int tries = 0; tries < kMaxTries; ++tries) {
      const ScaleGrid grid(scale, budget_.ratio, budget_.scales);
      find_codewords(b, variant, grid);
      // The range reaches a little beyond the series of scales on both sides.
      const float low = grid.scale[0] / budget_.ratio;
      const float between = (grid.scale[grid.size - 1] * budget_.ratio - low) / (kCandidates - 1);
      Candidates scales;
      scales.fill([&](int c) { return low + between * static_cast<float>(c); });
      const GainSums sums = sums_at(b, variant, scales[best_of(b, variant, scales)]);
      const float own = sums.best_scale();
      assign(unconstrained_[variant][b], UnconstrainedScale{own, sums.gg, sums.gain(own)});
      if (own >= grid.scale[0] && own <= grid.scale[grid.size - 1]) break;
      scale = own > 0.0f ? own : scale;
    }
  }

  /// Sub-blocks that are too small for d take the smallest sub-block scale, and its best codewords.
  STEELYARD_HD void extend_to_smallest_scale(float d) {
    const float smallest = stepped_scale<F>(d, 0);
    for (int b = 0; b < kSubBlocks; ++b) {
      for (int variant = 0; variant < F::kVariants; ++variant) {
        if (1.5f * unconstrained_[variant][b].scale >= smallest) continue;
        find_codewords(b, variant, ScaleGrid(smallest, budget_.ratio, budget_.scales));
      }
    }
  }

  /// The first of the scales with the largest gain of a sub-block, with each code on its best line.
  STEELYARD_HD int best_of(int b, int variant, const Candidates& scales) const {
    Candidates losses;
    for (int c = 0; c < kCandidates; c += kLanes) {
      const Floats scale = scales.get(c);
      const Floats half = 0.5f * scale;
      Floats sum = {};
      for (int v = b * kCodesPerSubBlock; v < (b + 1) * kCodesPerSubBlock; ++v) {
        const CodewordScore* const line = lines(variant, v);
        Floats most = line[0].xg - half * line[0].gg;
        for (int k = 1; k < budget_.scales; ++k) most = max(most, line[k].xg - half * line[k].gg);
        sum += most;
      }
      losses.put(c, -(scale * sum));
    }
    return argmin(losses);
  }

  /// The sums over the lines that are best at the scale.
  STEELYARD_HD GainSums sums_at(int b, int variant, float scale) const {
    GainSums sums;
    for (int v = b * kCodesPerSubBlock; v < (b + 1) * kCodesPerSubBlock; ++v) {
      const CodewordScore& score = best_line(lines(variant, v), budget_.scales, scale);
      sums.xg += score.xg;
      sums.gg += score.gg;
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
  /// Around its unconstrained scale a sub-block loses gg * (scale - ideal)^2.
  STEELYARD_HD void choose_super_scales(Candidates& super_scales) const {
    const auto ideal = [&](int b) -> const UnconstrainedScale& {
      return F::kVariants > 1 && unconstrained_[F::kVariants - 1][b].gain > unconstrained_[0][b].gain
                 ? unconstrained_[F::kVariants - 1][b]
                 : unconstrained_[0][b];
    };
    float largest = 0.0f;
    for (int b = 0; b < kSubBlocks; ++b) largest = std::max(largest, ideal(b).scale);
    // From a little above the d that gives the largest scale the last integer, down to the d that cuts it by a third.
    LaneArray<kTriedSuperScales> tried, losses;
    tried.fill([&](int k) {
      return largest / stepped_scale<F>(1.0f, F::kSubScaleLevels - 1) * (1.06f - 0.0125f * static_cast<float>(k));
    });
    const IntegerLevels levels = {0.0f, static_cast<float>(F::kSubScaleLevels - 1)};
    for (int k = 0; k < kTriedSuperScales; k += kLanes) {
      const Floats first = tried.get(k) * static_cast<float>(F::kSubScaleUnit);
      const Floats inverse = inverse_or_zero(2.0f * first);
      Floats loss = {};
      for (int b = 0; b < kSubBlocks; ++b) {
        const UnconstrainedScale& own = ideal(b);
        const Floats sub_scale = levels.nearest(own.scale * inverse - 0.5f);
        const Floats off = first * (2.0f * sub_scale + 1.0f) - own.scale;
        loss += own.gg * (off * off);
      }
      losses.put(k, loss);
    }
    for (int n = 0; n < budget_.super_scales; ++n) {
      const int least = argmin(losses);
      super_scales.set(n, tried[least]);
      losses.set(least, HUGE_VALF);
    }
  }

  /// The best sub-block scales and variants under d.
  STEELYARD_HD void fit_under(float d, Fit& fit) const {
    const Half stored_d = block_.store(d);
    const float stored = block_.load(stored_d);
    assign(fit.scales, CodebookScales{stored_d, {}, {}});
    Candidates scales;
    scales.fill([&](int c) { return stepped_scale<F>(stored, std::min(c, F::kSubScaleLevels - 1)); });
    GainSums of_d;
    float error = 0.0f;
    for (int b = 0; b < kSubBlocks; ++b) {
      float most = -HUGE_VALF;
      GainSums chosen;
      int chosen_sub_scale = 0, chosen_variant = 0;
      for (int variant = 0; variant < F::kVariants; ++variant) {
        const int sub_scale = best_of(b, variant, scales);
        const float scale = scales[sub_scale];
        const GainSums sums = sums_at(b, variant, scale);
        const float gain = sums.gain(scale);
        if (gain <= most) continue;
        most = gain;
        chosen = sums;
        chosen_sub_scale = sub_scale;
        chosen_variant = variant;
      }
      once([&] {
        fit.scales.sub_scale[b] = static_cast<uint8_t>(chosen_sub_scale);
        fit.scales.variant[b] = static_cast<uint8_t>(chosen_variant);
      });
      const float multiple = stepped_scale<F>(1.0f, chosen_sub_scale);
      error -= most;
      of_d.xg += multiple * chosen.xg;
      of_d.gg += multiple * multiple * chosen.gg;
    }
    once([&] {
      fit.error = error;
      fit.least_squares_d = of_d.best_scale();
    });
  }

  NormalizedBlock block_;
  CodebookBudget budget_;
  VectorSearch<F> vectors_[kCodes];
  UnconstrainedScale unconstrained_[F::kVariants][kSubBlocks];
  CodewordScore lines_[F::kVariants * kCodes * ScaleGrid::kMaxScales];
};

}  // namespace steelyard::formats::inline STEELYARD_TARGET
