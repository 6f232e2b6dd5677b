#include "formats/nvfp4.h"

#include <algorithm>

#include "formats/bit_codes.h"
#include "formats/search/e2m1.h"

namespace steelyard::formats::inline STEELYARD_TARGET {
namespace {

constexpr int kSubLen = 16;
constexpr int kSubs = NVFP4::kBlockLen / kSubLen;
constexpr int kScales = 0x7F;  ///< scales that are numbers

/// The highest scale whose highest level does not exceed `max`.
STEELYARD_HD int plain_scale(double max) {
  int plain = 0;
  for (int step = 64; step > 0; step /= 2) {
    const int next = plain + step;
    if (next < kScales && E2m1Levels::kHighest * NVFP4::half_scale(static_cast<uint32_t>(next)) <= max) plain = next;
  }
  return plain;
}

}  // namespace

STEELYARD_HD NVFP4::Scales NVFP4::fit(const float* x, const float* w, Effort effort, uint32_t* codes) {
  Common<Scales> best;
  for (int b = 0; b < kSubs; ++b, x += kSubLen, w += kSubLen, codes += kSubLen) {
    Common<NormalizedBlock> normalized(x, w, kSubLen);
    float max = 0.0f;
    for (int i = 0; i < kSubLen; ++i) max = std::max(max, std::fabs(normalized->x[i]));
    // The scales around the obvious one, in steps of 1/8 to 1/16; or all scales, with 0x7F as another zero.
    const int count = effort == Effort::kBest ? 128 : kCandidates;
    const int first = std::clamp(plain_scale(max * normalized->power) - (kCandidates - 7), 0, 128 - count);
    float error = HUGE_VALF;
    int chosen = 0;
    for (int s = first; s < first + count; s += kCandidates) {
      Candidates scales, errors;
      scales.fill(
          [&](int c) { return static_cast<float>(half_scale(static_cast<uint32_t>(s + c)) / normalized->power); });
      scale_errors(E2m1Levels(), normalized->x, normalized->w, kSubLen, scales, errors);
      for (int c = 0; c < kCandidates; ++c) {
        const float found = errors[c];
        if (found >= error) continue;
        error = found;
        chosen = s + c;
      }
    }
    assign(best->s[b], static_cast<uint8_t>(chosen));
    E2m1Levels().codes(x, kSubLen, half_scale(static_cast<uint32_t>(chosen)), codes);
  }
  return *best;
}

STEELYARD_HD uint32_t NVFP4::round(const float* x, const float*, const Scales& scales, int position, float* values) {
  return round_level(E2m1Levels(), *x, half_scale(scales.s[position / kSubLen]), values);
}

STEELYARD_HD void NVFP4::refit(const float* x, const float* w, const uint32_t* codes, Scales& scales) {
  for (int b = 0; b < kSubs; ++b) {
    ScaleSums sums;
    for (int i = kSubLen * b; i < kSubLen * (b + 1); ++i) sums.add(x[i], w[i], E2m1Levels().level(codes[i]));
    for (int s = 0; s < kScales; ++s) {
      if (sums.error(half_scale(static_cast<uint32_t>(s))) < sums.error(half_scale(scales.s[b]))) {
        scales.s[b] = static_cast<uint8_t>(s);
      }
    }
  }
}

STEELYARD_HD void NVFP4::pack(const Scales& scales, const uint32_t* codes, Block& block) {
  for (int b = 0; b < kSubs; ++b) {
    block.scales[b] = scales.s[b];
    pack_nibbles(codes + kSubLen * b, 8, block.codes + 8 * b);
  }
}

constinit const Format kNVFP4Format = make_format<NVFP4>();

}  // namespace steelyard::formats::inline STEELYARD_TARGET
