#include "formats/iq4_xs.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "formats/bit_codes.h"
#include "formats/search/iq4_levels.h"

namespace steelyard::formats::inline STEELYARD_TARGET {
namespace {

constexpr int kSubLen = IQ4_XS::kBlockLen / IQ4_XS::kSubBlocks;
constexpr int kLow = -32;  ///< of the scale of a sub-block
constexpr int kHigh = 31;

/// The multiple of d nearest to a scale.
STEELYARD_HD int nearest_multiple(float scale, float d) { return d == 0.0f ? 0 : nearest_down(scale / d, kLow, kHigh); }

/// A block, or its first sub-blocks: the best unconstrained scale of each sub-block, and its choice under a common
/// super-block scale.
template <int kSubs = IQ4_XS::kSubBlocks>
struct SuperBlock {
  const NormalizedBlock normalized;
  float unconstrained[kSubs];  ///< best scales of the sub-blocks, were they stored as they are

  STEELYARD_HD SuperBlock(const float* x, const float* w, Effort effort) : normalized(x, w, kSubs * kSubLen) {
    for (int b = 0; b < kSubs; ++b)
      assign(unconstrained[b], search_levels(Iq4Levels(), iq4_range(), sub_x(b), sub_w(b), kSubLen, effort));
  }

  STEELYARD_HD const float* sub_x(int b) const { return normalized.x + kSubLen * b; }
  STEELYARD_HD const float* sub_w(int b) const { return normalized.w + kSubLen * b; }

  /// The best super-block scale among those that make the largest unconstrained scale a multiple of up to 32, on either
  /// side: 8 * `passes` of each sign, in steps of 1 / `fineness`.
  STEELYARD_HD float search_super_scale(int passes, float fineness) const {
    float largest = 0.0f;
    for (const float scale : unconstrained) largest = std::fabs(scale) > std::fabs(largest) ? scale : largest;
    float best = 0.0f;
    float least = HUGE_VALF;
    for (int pass = 0; pass < passes; ++pass) {
      Candidates super_scales, errors;
      errors.fill([](int) { return 0.0f; });
      super_scales.fill([&](int c) {
        const float below = static_cast<float>(kCandidates * pass + c) / (2.0f * fineness);
        return largest / (c % 2 == 0 ? kLow - 0.4f + below : kHigh + 0.4f - below);
      });
      for (int b = 0; b < kSubs; ++b) {
        Candidates scales, sub_errors;
        scales.fill([&](int c) {
          const float super_scale = super_scales.own(c);
          return super_scale * static_cast<float>(nearest_multiple(unconstrained[b], super_scale));
        });
        scale_errors(Iq4Levels(), sub_x(b), sub_w(b), kSubLen, scales, sub_errors);
        for (int c = 0; c < kCandidates; c += kLanes) errors.put(c, errors.get(c) + sub_errors.get(c));
      }
      const int c = argmin(errors);
      const float error = errors[c];
      if (error < least) {
        least = error;
        best = super_scales[c];
      }
    }
    return best;
  }

  /// Gives every sub-block the best multiple of a stored super-block scale, of the 16 around its unconstrained scale.
  /// Returns the error.
  STEELYARD_HD float choose_sub_scales(IQ4_XS::Scales& scales) const {
    const float d = normalized.load(scales.d);
    const int lowest = kLow;
    float error = 0.0f;
    for (int b = 0; b < kSubs; ++b) {
      const int first =
          std::clamp(nearest_multiple(unconstrained[b], d) - kCandidates / 2, lowest, kHigh + 1 - kCandidates);
      Candidates multiples, errors;
      multiples.fill([&](int c) { return d * static_cast<float>(first + c); });
      scale_errors(Iq4Levels(), sub_x(b), sub_w(b), kSubLen, multiples, errors);
      const int c = argmin(errors);
      assign(scales.s[b], static_cast<int8_t>(first + c));
      error += errors[c];
    }
    return error;
  }
};

STEELYARD_HD float sub_scale(const IQ4_XS::Scales& scales, int b) {
  return to_float(scales.d) * static_cast<float>(scales.s[b]);
}

STEELYARD_HD void choose_codes(const float* x, const IQ4_XS::Scales& scales, uint32_t* codes) {
  for (int b = 0; b < IQ4_XS::kSubBlocks; ++b)
    Iq4Levels().codes(x + kSubLen * b, kSubLen, sub_scale(scales, b), codes + kSubLen * b);
}

}  // namespace

STEELYARD_HD IQ4_XS::Scales IQ4_XS::fit(const float* x, const float* w, Effort effort, uint32_t* codes) {
  Common<SuperBlock<>> block(x, w, effort);
  const auto d = effort == Effort::kFast     ? block->search_super_scale(1, 1.0f)
                 : effort == Effort::kNormal ? block->search_super_scale(2, 2.0f)
                                             : block->search_super_scale(8, 4.0f);
  Common<Scales> best;
  assign(best->d, block->normalized.store(d));
  float error = block->choose_sub_scales(*best);
  choose_codes(x, *best, codes);
  for (int step = 0; effort == Effort::kBest && step < 4; ++step) {
    Common<Scales> next;
    once([&] {
      *next = *best;
      refit(x, w, codes, *next);
    });
    const float next_error = block->choose_sub_scales(*next);
    if (next_error >= error) break;
    error = next_error;
    assign(*best, *next);
    choose_codes(x, *best, codes);
  }
  return *best;
}

STEELYARD_HD uint32_t IQ4_XS::round(const float* x, const float*, const Scales& scales, int position, float* values) {
  return round_level(Iq4Levels(), *x, sub_scale(scales, position / kSubLen), values);
}

STEELYARD_HD void IQ4_XS::rescale(const float* x, const float* w, int position, Effort effort, Scales& scales) {
  Common<Scales> own;
  assign(own->d, scales.d);
  Common<SuperBlock<1>> block(x, w, effort);
  block->choose_sub_scales(*own);
  assign(scales.s[position / kSubLen], own->s[0]);
}

STEELYARD_HD void IQ4_XS::refit(const float* x, const float* w, const uint32_t* codes, Scales& scales) {
  ScaleSums sums;
  for (int i = 0; i < kBlockLen; ++i) sums.add(x[i], w[i], scales.s[i / kSubLen] * Iq4Levels().level(codes[i]));
  scales.d = refit_scale(sums, scales.d);
}

STEELYARD_HD void IQ4_XS::pack(const Scales& scales, const uint32_t* codes, Block& block) {
  block.d = scales.d;
  uint32_t low = 0;
  uint32_t high = 0;
  for (int b = 0; b < kSubBlocks; ++b) {
    const auto s = static_cast<uint32_t>(scales.s[b] - kLow);
    low |= (s & 15) << (4 * b);
    high |= (s >> 4) << (2 * b);
    pack_nibbles(codes + kSubLen * b, 16, block.codes + 16 * b);
  }
  block.scales_high = static_cast<uint16_t>(high);
  std::memcpy(block.scales_low, &low, sizeof(low));
}

constinit const Format kIQ4_XSFormat = make_format<IQ4_XS>();

}  // namespace steelyard::formats::inline STEELYARD_TARGET
