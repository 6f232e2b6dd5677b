#include "formats/q5_0.h"

#include <cstring>

#include "formats/search.h"

namespace steelyard {
namespace {

constexpr IntegerLevels kLevels = {-16.0f, 15.0f};

}  // namespace

void Q5_0::objective(const float* x, const float* importance, float* w) {
  importance_objective(x, importance, kBlockLen, w);
}

Q5_0::Scales Q5_0::fit(const float* x, const float* w) {
  const UnitBlock unit(x, w, kBlockLen);
  // A negative scale gives the one extra level, -16, to the positive side.
  return {unit.store(search_scale(kLevels, unit.x, unit.w, kBlockLen, {-16.0f, 16.0f}))};
}

uint32_t Q5_0::round(const float* x, const float*, const Scales& scales, int, float* values) {
  const float d = to_float(scales.d);
  const int q = d == 0.0f ? 0 : nearest_down(*x / d, -16, 15);
  *values = d * static_cast<float>(q);
  return static_cast<uint32_t>(q + 16);
}

void Q5_0::refit(const float* x, const float* w, const uint32_t* codes, Scales& scales) {
  ScaleSums sums;
  for (int i = 0; i < kBlockLen; ++i) sums.add(x[i], w[i], static_cast<int>(codes[i]) - 16);
  scales.d = refit_scale(sums, scales.d);
}

void Q5_0::pack(const Scales& scales, const uint32_t* codes, Block& block) {
  uint32_t high = 0;
  for (int i = 0; i < kBlockLen; ++i) high |= (codes[i] >> 4) << i;
  block.d = scales.d;
  std::memcpy(block.high, &high, sizeof(high));
  for (int i = 0; i < 16; ++i) block.low[i] = static_cast<uint8_t>((codes[i] & 15) | (codes[i + 16] & 15) << 4);
}

constinit const Format kQ5_0Format = make_format<Q5_0>();

}  // namespace steelyard
