#include "formats/tq1_0.h"

#include "formats/one_scale.h"

namespace steelyard::inline STEELYARD_ISA {
namespace {

constexpr IntegerCodes kLevels = {{-1.0f, 1.0f}};
constexpr ScaleRange kRange = {{1.0f}, 1.2f, 5.0f};

}  // namespace

void TQ1_0::objective(const float* x, const float* importance, float* w) {
  importance_objective(x, importance, kBlockLen, w);
}

TQ1_0::Scales TQ1_0::fit(const float* x, const float* w, Effort effort, uint32_t* codes) {
  return {fit_levels(kLevels, kRange, x, w, kBlockLen, effort, codes)};
}

uint32_t TQ1_0::round(const float* x, const float*, const Scales& scales, int, float* values) {
  return round_level(kLevels, *x, to_float(scales.d), values);
}

void TQ1_0::refit(const float* x, const float* w, const uint32_t* codes, Scales& scales) {
  scales.d = refit_levels(kLevels, x, w, kBlockLen, codes, scales.d);
}

void TQ1_0::pack(const Scales& scales, const uint32_t* codes, Block& block) {
  block.d = scales.d;
  // A byte's digits lie `stride` values apart.
  const auto write = [&](int byte, int first, int stride, int n_digits) {
    uint32_t number = 0;
    for (int p = 0; p < 5; ++p) number = 3 * number + (p < n_digits ? codes[first + stride * p] : 0);
    block.digits[byte] = static_cast<uint8_t>((256 * number + 242) / 243);
  };
  for (int j = 0; j < 32; ++j) write(j, j, 32, 5);
  for (int j = 0; j < 16; ++j) write(32 + j, 160 + j, 16, 5);
  for (int j = 0; j < 4; ++j) write(48 + j, 240 + j, 4, 4);
}

constinit const Format kTQ1_0Format = make_format<TQ1_0>();

}  // namespace steelyard::inline STEELYARD_ISA
