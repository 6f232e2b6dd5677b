// The 16 levels of IQ4_NL and IQ4_XS for the searches of one_scale.h.
//
// The level nearest to t is that of the code that counts the midpoints below t. The count is found by bisection: with a
// lookup per step where registers are wide enough to index a table, and with a comparison per midpoint otherwise.
#pragma once

#include <cstdint>
#include <cstring>

#include "formats/grids.h"
#include "formats/search/one_scale.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

/// The midpoints between the levels of iq4_values(); the last one is never reached. (They are not member initializers,
/// because nvcc drops those of a constant.)
struct Iq4Midpoints {
  alignas(64) float values[16];
};
STEELYARD_HD constexpr Iq4Midpoints all_iq4_midpoints() {
  return {{-115.5f, -93.5f, -74.0f, -57.0f, -42.0f, -28.5f, -16.0f, -4.5f, 7.0f, 19.0f, 31.5f, 45.5f, 61.0f, 79.0f,
           101.0f, 128.0f}};
}
STEELYARD_HD inline const float* iq4_midpoints() {
  static constexpr Iq4Midpoints kMidpoints = all_iq4_midpoints();
  return kMidpoints.values;
}

struct Iq4Levels {
  STEELYARD_HD Floats nearest(const Floats& t) const {
    if constexpr (kLanes >= 8 && !kLanesAreThreads) {
      static constexpr Iq4Midpoints kAll = all_iq4_midpoints();
      alignas(32) static constexpr float kThird[4] = {kAll.values[1], kAll.values[5], kAll.values[9], kAll.values[13]};
      alignas(32) static constexpr float kFourth[8] = {kAll.values[0],  kAll.values[2], kAll.values[4],
                                                       kAll.values[6],  kAll.values[8], kAll.values[10],
                                                       kAll.values[12], kAll.values[14]};
      alignas(64) static constexpr float kLevels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                                        1,    13,   25,  38,  53,  69,  89,  113};
      const Ints upper = t > broadcast(kAll.values[7]);
      Ints code = -upper;
      code = 2 * code - (t > (upper ? broadcast(kAll.values[11]) : broadcast(kAll.values[3])));
      code = 2 * code - (t > look_up<4>(kThird, code));
      code = 2 * code - (t > look_up<8>(kFourth, code));
      return look_up<16>(kLevels, code);
    } else {
      Floats level = broadcast(iq4_values()[0]);
      for (int k = 0; k < 15; ++k) {
        const Floats step = broadcast(static_cast<float>(iq4_values()[k + 1] - iq4_values()[k]));
        level += t > broadcast(iq4_midpoints()[k]) ? step : Floats{};
      }
      return level;
    }
  }
  STEELYARD_HD uint32_t code(float t) const {
    uint32_t code = 0;
    for (const uint32_t half : {8u, 4u, 2u, 1u}) code += t > iq4_midpoints()[code + half - 1] ? half : 0;
    return code;
  }
  STEELYARD_HD float level(uint32_t code) const { return static_cast<float>(iq4_values()[code]); }
  STEELYARD_HD void codes(const float* x, int n, float scale, uint32_t* codes) const {
    // A stored scale is never so small that its inverse overflows.
    const float inverse = scale == 0.0f ? 0.0f : 1.0f / scale;
    for (int i = 0; i < n; i += kLanes) {
      const Floats t = load(x + i) * inverse;
      Words code = {};
      for (int k = 0; k < 15; ++k) code = t > broadcast(iq4_midpoints()[k]) ? code + 1u : code;
      store(code, codes + i);
    }
  }
};

/// The table reaches further down than up, so either sign of the scale may be better.
STEELYARD_HD constexpr ScaleRange iq4_range() { return {{-127.0f, 127.0f}, 0.8f, 1.25f}; }

}  // namespace steelyard::formats::inline STEELYARD_TARGET
