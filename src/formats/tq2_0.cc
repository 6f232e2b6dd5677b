#include "formats/tq2_0.h"

#include "formats/one_scale.h"

namespace steelyard::inline STEELYARD_ISA {
namespace {

constexpr IntegerCodes kLevels = {{-1.0f, 1.0f}};
constexpr ScaleRange kRange = {{1.0f}, 1.2f, 5.0f};

}  // namespace

void TQ2_0::objective(const float* x, const float* importance, float* w) {
  importance_objective(x, importance, kBlockLen, w);
}

TQ2_0::Scales TQ2_0::fit(const float* x, const float* w, Effort effort, uint32_t* codes) {
  return {fit_levels(kLevels, kRange, x, w, kBlockLen, effort, codes)};
}

uint32_t TQ2_0::round(const float* x, const float*, const Scales& scales, int, float* values) {
  return round_level(kLevels, *x, to_float(scales.d), values);
}

void TQ2_0::refit(const float* x, const float* w, const uint32_t* codes, Scales& scales) {
  scales.d = refit_levels(kLevels, x, w, kBlockLen, codes, scales.d);
}

void TQ2_0::pack(const Scales& scales, const uint32_t* codes, Block& block) {
  block.d = scales.d;
  for (int j = 0; j < 64; ++j) {
    const uint32_t* first = codes + 128 * (j / 32) + j % 32;
    block.codes[j] = static_cast<uint8_t>(first[0] | first[32] << 2 | first[64] << 4 | first[96] << 6);
  }
}

constinit const Format kTQ2_0Format = make_format<TQ2_0>();

}  // namespace steelyard::inline STEELYARD_ISA
