#include "formats/q5_0.h"

#include <cstring>

#include "formats/one_scale.h"

namespace steelyard::inline STEELYARD_ISA {
namespace {

constexpr IntegerCodes kLevels = {{-16.0f, 15.0f}};
// A negative scale gives the one extra level, -16, to the positive side.
constexpr ScaleRange kRange = {{-16.0f, 16.0f}, 0.8f, 1.25f};

}  // namespace

void Q5_0::objective(const float* x, const float* importance, float* w) {
  importance_objective(x, importance, kBlockLen, w);
}

Q5_0::Scales Q5_0::fit(const float* x, const float* w, Effort effort, uint32_t* codes) {
  return {fit_levels(kLevels, kRange, x, w, kBlockLen, effort, codes)};
}

uint32_t Q5_0::round(const float* x, const float*, const Scales& scales, int, float* values) {
  return round_level(kLevels, *x, to_float(scales.d), values);
}

void Q5_0::refit(const float* x, const float* w, const uint32_t* codes, Scales& scales) {
  scales.d = refit_levels(kLevels, x, w, kBlockLen, codes, scales.d);
}

void Q5_0::pack(const Scales& scales, const uint32_t* codes, Block& block) {
  uint32_t high = 0;
  for (int i = 0; i < kBlockLen; ++i) high |= (codes[i] >> 4) << i;
  block.d = scales.d;
  std::memcpy(block.high, &high, sizeof(high));
  for (int i = 0; i < 16; ++i) block.low[i] = static_cast<uint8_t>((codes[i] & 15) | (codes[i + 16] & 15) << 4);
}

constinit const Format kQ5_0Format = make_format<Q5_0>();

}  // namespace steelyard::inline STEELYARD_ISA
