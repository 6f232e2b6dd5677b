// The levels of MXFP4 and NVFP4: E2M1 floats, doubled so that they are integers, for the searches of search.h.
//
// A code is a sign bit over three bits of magnitude. Of the two zeros the positive one is written.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "formats/grids.h"
#include "formats/search/one_scale.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

/// A magnitude is the nearest to |t| when |t| is above all midpoints below that magnitude.
struct E2m1Levels {
  static constexpr float kHighest = 12.0f;

  STEELYARD_HD static float midpoint(uint32_t k) {
    return 0.5f * static_cast<float>(e2m1_doubled()[k] + e2m1_doubled()[k + 1]);
  }

  STEELYARD_HD Floats nearest(const Floats& t) const {
    const Floats magnitude = t < Floats{} ? -t : t;
    Floats level = {};
    for (uint32_t k = 0; k < 7; ++k) {
      const Floats step = broadcast(static_cast<float>(e2m1_doubled()[k + 1] - e2m1_doubled()[k]));
      level += magnitude > broadcast(midpoint(k)) ? step : Floats{};
    }
    return t < Floats{} ? -level : level;
  }
  STEELYARD_HD uint32_t code(float t) const {
    uint32_t code = 0;
    for (const uint32_t half : {4u, 2u, 1u}) code += std::fabs(t) > midpoint(code + half - 1) ? half : 0;
    return t < 0.0f && code > 0 ? code | 8 : code;
  }
  STEELYARD_HD float level(uint32_t code) const { return static_cast<float>(e2m1_doubled()[code]); }
  STEELYARD_HD void codes(const float* x, int n, float scale, uint32_t* codes) const {
    // No scale is so small that its inverse overflows.
    const float inverse = scale == 0.0f ? 0.0f : 1.0f / scale;
    for (int i = 0; i < n; i += kLanes) {
      const Floats t = load(x + i) * inverse;
      const Floats magnitude = t < Floats{} ? -t : t;
      Words code = {};
      for (uint32_t k = 0; k < 7; ++k) code = magnitude > broadcast(midpoint(k)) ? code + 1u : code;
      code = ((t < Floats{}) & (code > Words{})) ? code | 8u : code;
      store(code, codes + i);
    }
  }
};

}  // namespace steelyard::formats::inline STEELYARD_TARGET
