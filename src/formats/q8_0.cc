#include "formats/q8_0.h"

#include "formats/search.h"

namespace steelyard {
namespace {

constexpr IntegerLevels kLevels = {-127.0f, 127.0f};

}  // namespace

void Q8_0::objective(const float*, const float*, float* w) { std::fill_n(w, kBlockLen, 1.0f); }

Q8_0::Scales Q8_0::fit(const float* x, const float* w) {
  const UnitBlock unit(x, w, kBlockLen);
  return {unit.store(search_scale(kLevels, unit.x, unit.w, kBlockLen, {127.0f}))};
}

uint32_t Q8_0::round(const float* x, const float*, const Scales& scales, int, float* values) {
  const float d = to_float(scales.d);
  const int q = d == 0.0f ? 0 : nearest_down(*x / d, -127, 127);
  *values = d * static_cast<float>(q);
  return static_cast<uint32_t>(q + 128);
}

void Q8_0::refit(const float* x, const float* w, const uint32_t* codes, Scales& scales) {
  ScaleSums sums;
  for (int i = 0; i < kBlockLen; ++i) sums.add(x[i], w[i], static_cast<int>(codes[i]) - 128);
  scales.d = refit_scale(sums, scales.d);
}

void Q8_0::pack(const Scales& scales, const uint32_t* codes, Block& block) {
  block.d = scales.d;
  for (int i = 0; i < kBlockLen; ++i) block.codes[i] = static_cast<int8_t>(static_cast<int>(codes[i]) - 128);
}

constinit const Format kQ8_0Format = make_format<Q8_0>();

}  // namespace steelyard
