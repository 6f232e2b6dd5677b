#include "formats/iq2_s.h"

#include <cmath>

#include "formats/search.h"

namespace steelyard {
namespace {

constexpr int kIndexBits = 10;
constexpr double kUnit = 0.125;  // scale = d * kUnit * (2 * step + 1)

const Codebook& codebook() {
  static const Codebook kCodebook(iq2_s_grid(), 1 << kIndexBits);
  return kCodebook;
}

}  // namespace

void IQ2_S::objective(const float* x, const float* importance, float* w) {
  importance_objective(x, importance, kBlockLen, w);
}

IQ2_S::Scales IQ2_S::fit(const float* x, const float* w) {
  return search_stepped_scales(codebook(), x, w, kSubBlocks, kUnit);
}

/// A code is the index of the codeword and above it one sign bit per value.
uint32_t IQ2_S::round(const float* x, const float* w, const Scales& scales, int position, float* values) {
  const float scale = scale_of(scales.d, scales.step[position / (kBlockLen / kSubBlocks)]);
  const uint32_t index = codebook().nearest(x, w, scale);
  uint32_t signs = 0;
  for (int j = 0; j < kJoint; ++j) {
    const float magnitude = scale * codebook().value(index, j);
    signs |= static_cast<uint32_t>(x[j] < 0.0f) << j;
    values[j] = x[j] < 0.0f ? -magnitude : magnitude;
  }
  return index | signs << kIndexBits;
}

void IQ2_S::refit(const float* x, const float* w, const uint32_t* codes, Scales& scales) {
  float q[kBlockLen];
  for (int i = 0; i < kBlockLen; ++i) {
    const uint32_t code = codes[i / kJoint];
    const float magnitude = codebook().value(code & ((1u << kIndexBits) - 1), i % kJoint);
    q[i] = (code >> (kIndexBits + i % kJoint)) & 1 ? -magnitude : magnitude;
  }
  refit_stepped_scales(x, w, q, kSubBlocks, kUnit, scales);
}

void IQ2_S::pack(const Scales& scales, const uint32_t* codes, Block& block) {
  block = {};
  block.d = scales.d;
  for (int v = 0; v < kBlockLen / kJoint; ++v) {
    const uint32_t index = codes[v] & 1023;
    block.low[v] = static_cast<uint8_t>(index);
    block.high[v / 4] |= static_cast<uint8_t>((index >> 8) << (2 * (v % 4)));
    block.signs[v] = static_cast<uint8_t>(codes[v] >> 10);
  }
  for (int b = 0; b < kSubBlocks; ++b) block.scales[b / 2] |= static_cast<uint8_t>(scales.step[b] << (4 * (b % 2)));
}

constinit const Format kIQ2_SFormat = make_format<IQ2_S>();

}  // namespace steelyard
