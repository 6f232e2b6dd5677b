#include "formats/q1_0.h"

#include <cmath>
#include <cstring>

#include "formats/search/search.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

STEELYARD_HD Q1_0::Scales Q1_0::fit(const float* x, const float* w, Effort, uint32_t* codes) {
  // The signs are best as they are, whatever the scale. So the least-squares scale is the mean magnitude.
  Common<NormalizedBlock> normalized(x, w, kBlockLen);
  double sum = 0.0;
  double weights = 0.0;
  for (int i = 0; i < kBlockLen; ++i) {
    sum += static_cast<double>(normalized->w[i]) * std::fabs(normalized->x[i]);
    weights += normalized->w[i];
  }
  each(kBlockLen, [&](int i) { codes[i] = x[i] > 0.0f; });
  return {normalized->store(static_cast<float>(sum / weights))};
}

STEELYARD_HD uint32_t Q1_0::round(const float* x, const float*, const Scales& scales, int, float* values) {
  const float d = to_float(scales.d);
  const bool bit = d < 0.0f ? *x < 0.0f : d > 0.0f && *x > 0.0f;
  *values = bit ? d : -d;
  return bit;
}

STEELYARD_HD void Q1_0::refit(const float* x, const float* w, const uint32_t* codes, Scales& scales) {
  ScaleSums sums;
  for (int i = 0; i < kBlockLen; ++i) sums.add(x[i], w[i], codes[i] != 0 ? 1.0 : -1.0);
  scales.d = refit_scale(sums, scales.d);
}

STEELYARD_HD void Q1_0::pack(const Scales& scales, const uint32_t* codes, Block& block) {
  block.d = scales.d;
  std::memset(block.signs, 0, sizeof(block.signs));
  for (int i = 0; i < kBlockLen; ++i) block.signs[i / 8] |= static_cast<uint8_t>(codes[i] << (i % 8));
}

constinit const Format kQ1_0Format = make_format<Q1_0>();

}  // namespace steelyard::formats::inline STEELYARD_TARGET
