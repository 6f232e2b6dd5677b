#include "formats/q4_1.h"

#include "formats/search/search.h"

namespace steelyard::inline STEELYARD_TARGET {
namespace {

constexpr int kHigh = 15;

}  // namespace

STEELYARD_HD void Q4_1::objective(const float* x, const float* importance, float* w) {
  importance_objective(x, importance, kBlockLen, w);
}

STEELYARD_HD Q4_1::Scales Q4_1::fit(const float* x, const float* w, Effort effort, uint32_t* codes) {
  return fit_affine(kHigh, x, w, effort, codes);
}

STEELYARD_HD uint32_t Q4_1::round(const float* x, const float*, const Scales& scales, int, float* values) {
  return round_affine(kHigh, *x, scales, values);
}

STEELYARD_HD void Q4_1::refit(const float* x, const float* w, const uint32_t* codes, Scales& scales) {
  scales = refit_affine(x, w, codes, scales);
}

STEELYARD_HD void Q4_1::pack(const Scales& scales, const uint32_t* codes, Block& block) {
  block.d = scales.d;
  block.m = scales.m;
  for (int i = 0; i < 16; ++i) block.codes[i] = static_cast<uint8_t>(codes[i] | codes[i + 16] << 4);
}

constinit const Format kQ4_1Format = make_format<Q4_1>();

}  // namespace steelyard::inline STEELYARD_TARGET
