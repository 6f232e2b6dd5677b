#include "formats/q2_0.h"

#include "formats/one_scale.h"

namespace steelyard::inline STEELYARD_ISA {
namespace {

constexpr IntegerCodes kLevels = {{-1.0f, 2.0f}};
constexpr ScaleRange kRange = {{1.0f, -1.0f}, 1.2f, 4.0f};

}  // namespace

void Q2_0::objective(const float* x, const float* importance, float* w) {
  importance_objective(x, importance, kBlockLen, w);
}

Q2_0::Scales Q2_0::fit(const float* x, const float* w, Effort effort, uint32_t* codes) {
  return {fit_levels(kLevels, kRange, x, w, kBlockLen, effort, codes)};
}

uint32_t Q2_0::round(const float* x, const float*, const Scales& scales, int, float* values) {
  return round_level(kLevels, *x, to_float(scales.d), values);
}

void Q2_0::refit(const float* x, const float* w, const uint32_t* codes, Scales& scales) {
  scales.d = refit_levels(kLevels, x, w, kBlockLen, codes, scales.d);
}

void Q2_0::pack(const Scales& scales, const uint32_t* codes, Block& block) {
  block.d = scales.d;
  for (int j = 0; j < 16; ++j) {
    const uint32_t* first = codes + 4 * j;
    block.codes[j] = static_cast<uint8_t>(first[0] | first[1] << 2 | first[2] << 4 | first[3] << 6);
  }
}

constinit const Format kQ2_0Format = make_format<Q2_0>();

}  // namespace steelyard::inline STEELYARD_ISA
