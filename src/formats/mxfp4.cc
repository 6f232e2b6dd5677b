#include "formats/mxfp4.h"

#include <algorithm>

#include "formats/bit_codes.h"
#include "formats/search/e2m1.h"

namespace steelyard::formats::inline STEELYARD_TARGET {
namespace {

/// Below the lowest, the inverse of the scale is not a float; above the highest, its highest level is not.
constexpr int kLowestExponent = 1;
constexpr int kHighestExponent = 252;

}  // namespace

STEELYARD_HD MXFP4::Scales MXFP4::fit(const float* x, const float* w, Effort, uint32_t* codes) {
  Common<NormalizedBlock> normalized(x, w, kBlockLen);
  // All scales that can be best, the largest first. Under a larger one, values below 1 would use only the lower levels.
  const auto exponent_of = [&](int c) {
    const int fitting = 128 + std::ilogb(normalized->power) - 2 - c;
    return static_cast<uint8_t>(std::min(std::max(fitting, int{kLowestExponent}), int{kHighestExponent}));
  };
  Candidates scales, errors;
  scales.fill(
      [&](int c) { return static_cast<float>(static_cast<double>(half_scale(exponent_of(c))) / normalized->power); });
  scale_errors(E2m1Levels(), normalized->x, normalized->w, kBlockLen, scales, errors);
  const uint8_t exponent = exponent_of(argmin(errors));
  E2m1Levels().codes(x, kBlockLen, half_scale(exponent), codes);
  return {exponent};
}

STEELYARD_HD uint32_t MXFP4::round(const float* x, const float*, const Scales& scales, int, float* values) {
  return round_level(E2m1Levels(), *x, half_scale(scales.exponent), values);
}

STEELYARD_HD void MXFP4::refit(const float* x, const float* w, const uint32_t* codes, Scales& scales) {
  ScaleSums sums;
  for (int i = 0; i < kBlockLen; ++i) sums.add(x[i], w[i], E2m1Levels().level(codes[i]));
  for (int e = kLowestExponent; e <= kHighestExponent; ++e) {
    if (sums.error(half_scale(static_cast<uint32_t>(e))) < sums.error(half_scale(scales.exponent))) {
      scales.exponent = static_cast<uint8_t>(e);
    }
  }
}

STEELYARD_HD void MXFP4::pack(const Scales& scales, const uint32_t* codes, Block& block) {
  block.exponent = scales.exponent;
  pack_nibbles(codes, 16, block.codes);
}

constinit const Format kMXFP4Format = make_format<MXFP4>();

}  // namespace steelyard::formats::inline STEELYARD_TARGET
