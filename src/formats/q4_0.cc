#include "formats/q4_0.h"

#include "formats/one_scale.h"

namespace steelyard::inline STEELYARD_ISA {
namespace {

constexpr IntegerCodes kLevels = {{-8.0f, 7.0f}};
// A negative scale gives the one extra level, -8, to the positive side.
constexpr ScaleRange kRange = {{-8.0f, 8.0f}, 0.8f, 1.25f};

}  // namespace

void Q4_0::objective(const float* x, const float* importance, float* w) {
  importance_objective(x, importance, kBlockLen, w);
}

Q4_0::Scales Q4_0::fit(const float* x, const float* w, Effort effort, uint32_t* codes) {
  return {fit_levels(kLevels, kRange, x, w, kBlockLen, effort, codes)};
}

uint32_t Q4_0::round(const float* x, const float*, const Scales& scales, int, float* values) {
  return round_level(kLevels, *x, to_float(scales.d), values);
}

void Q4_0::refit(const float* x, const float* w, const uint32_t* codes, Scales& scales) {
  scales.d = refit_levels(kLevels, x, w, kBlockLen, codes, scales.d);
}

void Q4_0::pack(const Scales& scales, const uint32_t* codes, Block& block) {
  block.d = scales.d;
  for (int i = 0; i < 16; ++i) block.codes[i] = static_cast<uint8_t>(codes[i] | codes[i + 16] << 4);
}

constinit const Format kQ4_0Format = make_format<Q4_0>();

}  // namespace steelyard::inline STEELYARD_ISA
