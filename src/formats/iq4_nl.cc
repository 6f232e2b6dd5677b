#include "formats/iq4_nl.h"

#include "formats/iq4_levels.h"

namespace steelyard::inline STEELYARD_ISA {
namespace {

constexpr Iq4Levels kLevels;

}  // namespace

void IQ4_NL::objective(const float* x, const float* importance, float* w) {
  importance_objective(x, importance, kBlockLen, w);
}

IQ4_NL::Scales IQ4_NL::fit(const float* x, const float* w, Effort effort, uint32_t* codes) {
  return {fit_levels(kLevels, kIq4Range, x, w, kBlockLen, effort, codes)};
}

uint32_t IQ4_NL::round(const float* x, const float*, const Scales& scales, int, float* values) {
  return round_level(kLevels, *x, to_float(scales.d), values);
}

void IQ4_NL::refit(const float* x, const float* w, const uint32_t* codes, Scales& scales) {
  scales.d = refit_levels(kLevels, x, w, kBlockLen, codes, scales.d);
}

void IQ4_NL::pack(const Scales& scales, const uint32_t* codes, Block& block) {
  block.d = scales.d;
  for (int i = 0; i < 16; ++i) block.codes[i] = static_cast<uint8_t>(codes[i] | codes[i + 16] << 4);
}

constinit const Format kIQ4_NLFormat = make_format<IQ4_NL>();

}  // namespace steelyard::inline STEELYARD_ISA
