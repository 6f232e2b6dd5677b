#include "formats/q6_k.h"

#include "formats/search.h"

namespace steelyard {
namespace {

constexpr IntegerLevels kLevels = {-32.0f, 31.0f};
constexpr int kSubBlocks = Q6_K::kSubBlocks;
constexpr int kSubBlockLen = Q6_K::kSubBlockLen;

int sub_scale(float scale, float d) { return d == 0.0f ? 0 : nearest_down(scale / d, -128, 127); }

/// The unit d under which the sub-block scales, rounded to integers, lose least.
float search_unit(const UnitBlock& unit, const float* wanted) {
  float largest = 0.0f;
  for (int b = 0; b < kSubBlocks; ++b) {
    if (std::fabs(wanted[b]) > std::fabs(largest)) largest = wanted[b];
  }
  // The largest scale becomes -128, or a little less to let the others round better.
  float units[kCandidates];
  float totals[kCandidates] = {};
  for (int c = 0; c < kCandidates; ++c) {
    units[c] = unit.load(unit.store(largest / (-128.0f + static_cast<float>(c))));
  }
  for (int b = 0; b < kSubBlocks; ++b) {
    float scales[kCandidates];
    float errors[kCandidates];
    for (int c = 0; c < kCandidates; ++c) scales[c] = units[c] * static_cast<float>(sub_scale(wanted[b], units[c]));
    scale_errors(kLevels, unit.x + b * kSubBlockLen, unit.w + b * kSubBlockLen, kSubBlockLen, scales, errors);
    for (int c = 0; c < kCandidates; ++c) totals[c] += errors[c];
  }
  return units[std::min_element(totals, totals + kCandidates) - totals];
}

/// The best integer scale of a sub-block, near the wanted one.
int search_sub_scale(const float* x, const float* w, float wanted, float d) {
  const int centre = sub_scale(wanted, d);
  int steps[kCandidates];
  float scales[kCandidates];
  float errors[kCandidates];
  for (int c = 0; c < kCandidates; ++c) {
    steps[c] = std::clamp(centre + c - kCandidates / 2, -128, 127);
    scales[c] = d * static_cast<float>(steps[c]);
  }
  scale_errors(kLevels, x, w, kSubBlockLen, scales, errors);
  return steps[std::min_element(errors, errors + kCandidates) - errors];
}

}  // namespace

void Q6_K::objective(const float* x, const float* importance, float* w) {
  importance_objective(x, importance, kBlockLen, w);
}

Q6_K::Scales Q6_K::fit(const float* x, const float* w) {
  const UnitBlock unit(x, w, kBlockLen);
  float wanted[kSubBlocks];
  for (int b = 0; b < kSubBlocks; ++b) {
    const int at = b * kSubBlockLen;
    wanted[b] = search_scale(kLevels, unit.x + at, unit.w + at, kSubBlockLen, {-32.0f, 32.0f});
  }
  const float d = search_unit(unit, wanted);
  Scales scales = {unit.store(d), {}};
  for (int b = 0; b < kSubBlocks; ++b) {
    const int at = b * kSubBlockLen;
    scales.scale[b] = static_cast<int8_t>(search_sub_scale(unit.x + at, unit.w + at, wanted[b], d));
  }
  return scales;
}

uint32_t Q6_K::round(const float* x, const float*, const Scales& scales, int position, float* values) {
  const float scale = to_float(scales.d) * static_cast<float>(scales.scale[position / kSubBlockLen]);
  const int q = scale == 0.0f ? 0 : nearest_down(*x / scale, -32, 31);
  *values = scale * static_cast<float>(q);
  return static_cast<uint32_t>(q + 32);
}

void Q6_K::refit(const float* x, const float* w, const uint32_t* codes, Scales& scales) {
  // For given codes and integer scales, the block is one long vector of levels scale * q under the unit d.
  ScaleSums sums;
  for (int i = 0; i < kBlockLen; ++i) {
    sums.add(x[i], w[i], scales.scale[i / kSubBlockLen] * (static_cast<int>(codes[i]) - 32));
  }
  scales.d = refit_scale(sums, scales.d);
}

void Q6_K::pack(const Scales& scales, const uint32_t* codes, Block& block) {
  block = {};
  block.d = scales.d;
  std::copy_n(scales.scale, kSubBlocks, block.scales);
  for (int i = 0; i < kBlockLen; ++i) {
    const int v = i % 128;
    block.low[64 * (i / 128) + v % 64] |= static_cast<uint8_t>((codes[i] & 15) << (4 * (v / 64)));
    block.high[32 * (i / 128) + v % 32] |= static_cast<uint8_t>((codes[i] >> 4) << (2 * (v / 32)));
  }
}

constinit const Format kQ6_KFormat = make_format<Q6_K>();

}  // namespace steelyard
