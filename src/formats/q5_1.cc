#include "formats/q5_1.h"

#include "formats/search/search.h"

namespace steelyard::inline STEELYARD_TARGET {
namespace {

constexpr int kHigh = 31;

}  // namespace

STEELYARD_HD void Q5_1::objective(const float* x, const float* importance, float* w) {
  importance_objective(x, importance, kBlockLen, w);
}

STEELYARD_HD Q5_1::Scales Q5_1::fit(const float* x, const float* w, Effort effort, uint32_t* codes) {
  return fit_affine(kHigh, x, w, effort, codes);
}

STEELYARD_HD uint32_t Q5_1::round(const float* x, const float*, const Scales& scales, int, float* values) {
  return round_affine(kHigh, *x, scales, values);
}

STEELYARD_HD void Q5_1::refit(const float* x, const float* w, const uint32_t* codes, Scales& scales) {
  scales = refit_affine(x, w, codes, scales);
}

STEELYARD_HD void Q5_1::pack(const Scales& scales, const uint32_t* codes, Block& block) {
  uint32_t high = 0;
  for (int i = 0; i < kBlockLen; ++i) high |= (codes[i] >> 4) << i;
  block.d = scales.d;
  block.m = scales.m;
  block.high = high;
  for (int i = 0; i < 16; ++i) block.low[i] = static_cast<uint8_t>((codes[i] & 15) | (codes[i + 16] & 15) << 4);
}

constinit const Format kQ5_1Format = make_format<Q5_1>();

}  // namespace steelyard::inline STEELYARD_TARGET
