#include "formats/iq4_nl.h"

#include "formats/search.h"

namespace steelyard {
namespace {

/// The levels of iq4_values(). A level is nearest to t when t has passed all midpoints below it.
struct Iq4Levels {
  int code(float t) const {
    int code = 0;
    for (int k = 0; k < 15; ++k) code += t > midpoint(k);
    return code;
  }
  Lanes nearest(const Lanes& t) const {
    Lanes level = broadcast(iq4_values()[0]);
    for (int k = 0; k < 15; ++k) {
      const Lanes step = broadcast(static_cast<float>(iq4_values()[k + 1] - iq4_values()[k]));
      level += t > broadcast(midpoint(k)) ? step : Lanes{};
    }
    return level;
  }
  static float midpoint(int k) { return 0.5f * static_cast<float>(iq4_values()[k] + iq4_values()[k + 1]); }
};
constexpr Iq4Levels kLevels;

}  // namespace

void IQ4_NL::objective(const float* x, const float* importance, float* w) {
  importance_objective(x, importance, kBlockLen, w);
}

IQ4_NL::Scales IQ4_NL::fit(const float* x, const float* w) {
  const UnitBlock unit(x, w, kBlockLen);
  // The table reaches further down than up, so either sign of the scale may serve better.
  return {unit.store(search_scale(kLevels, unit.x, unit.w, kBlockLen, {-127.0f, 127.0f}))};
}

uint32_t IQ4_NL::round(const float* x, const float*, const Scales& scales, int, float* values) {
  const float d = to_float(scales.d);
  const int code = kLevels.code(d == 0.0f ? 0.0f : *x / d);
  *values = d * static_cast<float>(iq4_values()[code]);
  return static_cast<uint32_t>(code);
}

void IQ4_NL::refit(const float* x, const float* w, const uint32_t* codes, Scales& scales) {
  ScaleSums sums;
  for (int i = 0; i < kBlockLen; ++i) sums.add(x[i], w[i], iq4_values()[codes[i]]);
  scales.d = refit_scale(sums, scales.d);
}

void IQ4_NL::pack(const Scales& scales, const uint32_t* codes, Block& block) {
  block.d = scales.d;
  for (int i = 0; i < 16; ++i) block.codes[i] = static_cast<uint8_t>(codes[i] | codes[i + 16] << 4);
}

constinit const Format kIQ4_NLFormat = make_format<IQ4_NL>();

}  // namespace steelyard
