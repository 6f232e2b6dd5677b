#include "formats/q8_0.h"

#include "formats/one_scale.h"

namespace steelyard::inline STEELYARD_ISA {
namespace {

constexpr IntegerCodes kLevels = {{-127.0f, 127.0f}};
constexpr ScaleRange kRange = {{127.0f}, 0.85f, 1.05f};

}  // namespace

void Q8_0::objective(const float*, const float*, float* w) { std::fill_n(w, kBlockLen, 1.0f); }

Q8_0::Scales Q8_0::fit(const float* x, const float* w, Effort effort, uint32_t* codes) {
  return {fit_levels(kLevels, kRange, x, w, kBlockLen, effort, codes)};
}

uint32_t Q8_0::round(const float* x, const float*, const Scales& scales, int, float* values) {
  return round_level(kLevels, *x, to_float(scales.d), values);
}

void Q8_0::refit(const float* x, const float* w, const uint32_t* codes, Scales& scales) {
  scales.d = refit_levels(kLevels, x, w, kBlockLen, codes, scales.d);
}

void Q8_0::pack(const Scales& scales, const uint32_t* codes, Block& block) {
  block.d = scales.d;
  for (int i = 0; i < kBlockLen; ++i) block.codes[i] = static_cast<int8_t>(static_cast<int>(codes[i]) - 127);
}

constinit const Format kQ8_0Format = make_format<Q8_0>();

}  // namespace steelyard::inline STEELYARD_ISA
